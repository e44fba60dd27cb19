"""Was a client's prediction published before: of the same files, by the same model, code and configuration?

On most nights that is so for most clients; their partition is then published again as it is, without scoring.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import OUTPUT, QUARANTINE
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT
from bc4all.layout import MANIFEST, Layout

MADE_FROM = "made_from"  # in the manifest


@dataclass(frozen=True)
class Before:
    """A date that was published; by OUTPUT, and by QUARANTINE where rows were refused: its folder and its manifest."""

    day: Day
    source: Sequence[Entry]  # the delivered files as they were listed now
    folders: Mapping[str, str]
    manifests: Mapping[str, Mapping[str, Any]]


def made_from(source: Sequence[Entry], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what is published, as JSON has it: the delivered files as they were listed, and `facts`."""
    return {"files": [[entry.name, entry.size, entry.changed] for entry in source], **facts}


def find_before(
    files: FileSystem, layout: Layout, client_id: ClientId, source: Sequence[Entry], wanted: Mapping[str, Any]
) -> Before | None:
    """Return the newest published date where it was made from what is `wanted`, of `source`, and lies there whole.

    A date that was filled in later counts for none.
    """
    days = [day for entry in files.listing(layout.published_client(client_id)) if (day := _day(entry.name))]
    told: dict[str, Any] = {}
    for newest in sorted(days, reverse=True):
        folders = {OUTPUT: layout.published_partition(client_id, newest)}
        told = _manifest(files, folders[OUTPUT])
        if not told.get("backfilled"):
            break
    if not told or told.get("backfilled") or told.get(MADE_FROM) != wanted:
        return None
    manifests = {OUTPUT: told}
    if told["rows_quarantined"]:
        folders[QUARANTINE] = layout.quarantine(PREDICT.data, client_id, newest)
        manifests[QUARANTINE] = _manifest(files, folders[QUARANTINE])
        if manifests[QUARANTINE].get("run_id") != told["run_id"]:  # of another run, or gone
            return None
    if not all(_is_whole(files, folder, manifests[name]) for name, folder in folders.items()):
        return None
    return Before(newest, source, folders, manifests)


def _day(name: str) -> Day | None:
    try:
        return Day(name.removeprefix("date="))
    except ConfigurationError:  # set aside by a person
        return None


def _manifest(files: FileSystem, folder: str) -> dict[str, Any]:
    try:
        told = json.loads(files.read_text(f"{folder}/{MANIFEST}") or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _is_whole(files: FileSystem, folder: str, manifest: Mapping[str, Any]) -> bool:
    """Return whether its files have the names, the sizes and, together, the rows that its manifest tells."""
    parts = [entry for entry in files.listing(folder) if entry.name.endswith(".parquet")]
    if {entry.name: entry.size for entry in parts} != {part["name"]: part["bytes"] for part in manifest["files"]}:
        return False
    rows: int = manifest["rows_out"] if MADE_FROM in manifest else manifest["rows_quarantined"]
    return sum(files.parquet_rows(entry.uri) for entry in parts) == rows
