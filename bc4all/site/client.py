"""What a client's page shows beside its jobs: the dates that are published, its versions, its categories."""

import contextlib
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from bc4all.config.clients import Client
from bc4all.config.timing import Timing, firings
from bc4all.data.published import manifests
from bc4all.errors import ModelError
from bc4all.identity import ClientId, Day, RunId
from bc4all.job_kinds import PREDICT
from bc4all.layout import Layout
from bc4all.learning.suspects import FILE, Suspects
from bc4all.registry.champions import Champions, Change, rolled_back
from bc4all.registry.versions import CHAMPION, Registry, Version
from bc4all.schedule.history import FAILED, Run
from bc4all.site.fleet import LATE_AFTER
from bc4all.wording import delivered

SHOWN_DAYS = 60
# What became of a date. Outdated: made by a version that was rolled back since.
DAY_STATES = ("published", "outdated", "backfilled", "failed", "missing")
_TOP_5 = "top_5"  # empty of a category that was predicted, but has no product among those held out
_NUMBERS = ("rows", "precision", "recall", "f1", _TOP_5)
_TABLES = {  # of a training's run, and the columns of each that hold numbers
    "categories_held_out.csv": _NUMBERS,
    "categories_training.csv": _NUMBERS,
    "confused_held_out.csv": ("rows",),
    "confused_training.csv": ("rows",),
    "coverage.csv": ("coverage", "accuracy"),
}
_WHOLE = ("rows",)  # columns of whole numbers, which pandas may have written as 12.0
_NAMES = ("category", "predicted")  # columns that hold categories


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
        return rolled_back(self.changes)


def model_facts(registry: Registry, client_id: ClientId) -> ModelFacts | None:
    """Return what the registry knows of a client; None where it has no model."""
    versions = sorted(registry.versions(client_id), key=lambda version: -version.number)
    if not versions:
        return None
    aliases = registry.aliases(client_id)
    run_id = next((version.run_id for version in versions if version.number == aliases.get(CHAMPION)), None)
    contents = _files(registry, run_id) if run_id else {}
    tables = {name: table_rows(name, contents[name]) for name in _TABLES if name in contents}
    changes = Champions(registry).changes(client_id)
    return ModelFacts(versions, aliases, changes, tables, _suspects(contents.get(FILE)))


def _files(registry: Registry, run_id: RunId) -> dict[str, bytes]:
    """Return what a training kept of the page's files: none where its run was deleted."""
    with contextlib.suppress(ModelError):
        return registry.tracking.run_files(run_id, (*_TABLES, FILE))
    return {}


def table_rows(name: str, content: bytes) -> list[Mapping[str, str]]:
    """Return the rows of one of a training's tables, whose columns of numbers hold some; none where it is another."""
    rows: list[Mapping[str, str]] = []
    try:
        for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
            for column in _TABLES[name]:
                if (row[column] or column != _TOP_5) and not math.isfinite(float(row[column])):
                    return []
            whole = {column: str(int(float(row[column]))) for column in _WHOLE if column in row}
            rows.append(row | whole | {label: delivered(row.get(label) or "") for label in _NAMES})
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error):
        return []
    return rows


def _suspects(content: bytes | None) -> Suspects | None:
    try:
        return Suspects.read(content) if content else None
    except ModelError:  # spoilt: the command says so
        return None


def day_facts(
    layout: Layout, client: Client, there: Sequence[Day], runs: Sequence[Run], rolled_back: set[int], now: datetime
) -> list[DayFacts]:
    """Return the last dates that are published or should be, the latest last.

    `there`: the dates that are published; `runs`: the client's predictions of these weeks; `rolled_back`: the versions
    that were taken back.
    """
    timing = client.timing(PREDICT.name)
    since, due = now - timedelta(days=SHOWN_DAYS), client.due(PREDICT.name)
    first = timing.day(since)
    shown = [day for day in there if day >= first]
    found = manifests(layout, client.id, shown)
    failed = {run.day for run in runs if run.state in FAILED and run.day >= first}
    under_way = {run.day for run in runs if run.state in ("queued", "running")}
    # A date is missing from the first one on that was published, or tried, and once a run of it would have begun.
    begun = min([*there, *(run.day for run in runs)], default=None)
    expected = set(_due_days(due, since, now - LATE_AFTER)) if due and begun else set()
    absent = {day for day in expected if begun and day >= begun} - set(there) - under_way
    facts = [DayFacts(day, _state(found.get(day, {}), rolled_back), found.get(day, {})) for day in shown]
    facts += [DayFacts(day, "failed" if day in failed else "missing", {}) for day in absent | (failed - set(there))]
    return sorted(facts, key=lambda one: one.day)


def _due_days(timing: Timing, after: datetime, until: datetime) -> Iterator[Day]:
    """Yield each date once on which a job is due, however often: of a day, the first time is enough."""
    while (at := next(firings(timing.expression, timing.zone, after, until), None)) is not None:
        day = timing.day(at)
        yield day
        midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time.min, timing.zone)
        after = midnight - timedelta(seconds=1)


def _state(manifest: Mapping[str, Any], rolled_back: set[int]) -> str:
    if manifest.get("model_version") in rolled_back:
        return "outdated"
    return "backfilled" if manifest.get("backfilled") else "published"
