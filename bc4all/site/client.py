"""What a client's page shows beside its jobs: the dates that are published, its versions, its categories."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bc4all.config.clients import Client
from bc4all.config.timing import firings
from bc4all.data.published import manifests, published_days
from bc4all.errors import ModelError
from bc4all.identity import ClientId, Day, RunId
from bc4all.job_kinds import PREDICT
from bc4all.layout import Layout
from bc4all.learning.suspects import FILE, Suspects
from bc4all.registry.champions import Champions, Change
from bc4all.registry.versions import Registry, Version
from bc4all.schedule.history import FAILED, Run

SHOWN_DAYS = 60
# What became of a date. Outdated: made by a version that was rolled back since.
DAY_STATES = ("published", "outdated", "backfilled", "failed", "missing")
_TABLES = ("categories_held_out.csv", "categories_training.csv", "coverage.csv")


@dataclass(frozen=True)
class DayFacts:
    """One date: its state, one of DAY_STATES, and its manifest, where it is published."""

    day: Day
    state: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class ModelFacts:
    """A client's versions, the newest first, and how champions came.

    Of the champion's training: tables by file name, and the suspects among its labels, None where it kept none.
    """

    versions: Sequence[Version]
    aliases: Mapping[str, int]
    changes: Sequence[Change]
    tables: Mapping[str, Sequence[Mapping[str, str]]]
    suspects: Suspects | None

    @property
    def rolled_back(self) -> set[int]:
        """The versions that were champion until a person took them back, and are not again."""
        back: set[int] = set()
        current: int | None = None
        for change in self.changes:
            if change.back and current is not None:
                back.add(current)
            back.discard(change.version)
            current = change.version
        return back


def model_facts(registry: Registry, client_id: ClientId) -> ModelFacts | None:
    """Return what the registry knows of a client; None where it has no model."""
    versions = sorted(registry.versions(client_id), key=lambda version: -version.number)
    if not versions:
        return None
    aliases = registry.aliases(client_id)
    champion = next((one for one in versions if one.number == aliases.get("champion")), versions[0])
    contents = _files(registry, champion.run_id) if champion.run_id else {}
    suspects = Suspects.read(contents.pop(FILE)) if FILE in contents else None
    tables = {name: _table(content) for name, content in contents.items()}
    return ModelFacts(versions, aliases, Champions(registry).changes(client_id), tables, suspects)


def _files(registry: Registry, run_id: RunId) -> dict[str, bytes]:
    found = {}
    for name in (*_TABLES, FILE):
        with contextlib.suppress(ModelError):  # of a release that did not keep it, or without held-out products
            found[name] = registry.tracking.run_file(run_id, name)
    return found


def _table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def day_facts(
    layout: Layout, client: Client, runs: Sequence[Run], rolled_back: set[int], now: datetime
) -> list[DayFacts]:
    """Return the last dates that are published or should be, the latest last.

    `runs`: the client's last predictions; `rolled_back`: the versions that were taken back.
    """
    timing, first = client.timing(PREDICT.name), now - timedelta(days=SHOWN_DAYS)
    there = published_days(layout, client.id)
    shown = [day for day in there if day >= timing.day(first)]
    found = manifests(layout, client.id, shown)
    failed = {run.day for run in runs if run.job == PREDICT.name and run.state in FAILED}
    # A date is missing from the first one on that was published, or tried.
    begun = min([*there, *(run.day for run in runs)], default=None)
    due = {timing.day(at) for at in firings(timing.expression, timing.zone, first, now)} if begun else set()
    absent = {day for day in due if begun and day >= begun} - set(there)
    facts = [DayFacts(day, _state(found.get(day, {}), rolled_back), found.get(day, {})) for day in shown]
    facts += [DayFacts(day, "failed" if day in failed else "missing", {}) for day in absent | (failed - set(there))]
    return sorted(facts, key=lambda one: one.day)


def _state(manifest: Mapping[str, Any], rolled_back: set[int]) -> str:
    if manifest.get("model_version") in rolled_back:
        return "outdated"
    return "backfilled" if manifest.get("backfilled") else "published"
