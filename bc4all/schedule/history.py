"""The history of runs, in a SQLite file: what was due, what was started, and what became of it.

A run is one attempt of one client's job. It is written down before its process starts, so that the next process,
after whatever happened, knows what was under way. Times are UTC: ISO 8601 in the columns that people read, seconds
since 1970 in those that are compared.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bc4all.identity import ClientId, Day
from bc4all.schedule.schema import ADDED, TABLES

# queued: due, not started. missed: due, and never to be started. lost: it was killed, or ended unseen (a power cut).
STATES = ("queued", "running", "done", "failed", "timeout", "stopped", "lost", "missed")
FAILED = ("failed", "timeout", "stopped", "lost")
SCHEDULED = ("schedule", "catch-up")  # the triggers that are the scheduler's
SUBMIT = "submit"  # that of a job which a person has started by bin/submit.sh
BACKFILL = "backfill"  # that of a past date, which is filled in with what is delivered now


@dataclass(frozen=True)
class Run:
    """One attempt of one client's job; see the module for the states. `application` names the process it shares."""

    id: int
    client: ClientId
    job: str
    day: Day
    scheduled_for: str
    attempt: int
    trigger: str
    state: str
    not_before: float
    application: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    exit_code: int | None = None
    started: str | None = None
    ended: str | None = None
    log: str | None = None
    mlflow_run: str | None = None
    version: int | None = None
    top_5: float | None = None
    rows: int | None = None
    error: str | None = None
    note: str | None = None
    unnotified: str | None = None  # why the notice of it was not delivered
    parts: int = 1  # into which those that might share an application are divided
    alone: bool = False  # whether it shares no application, though it might

    @property
    def seconds(self) -> float | None:
        """How long it ran; None where it did not, or still does."""
        if not self.started or not self.ended:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()


_COLUMNS = ", ".join(column.name for column in fields(Run))


def iso(seconds: float) -> str:
    """Return seconds since 1970 as UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class History:
    """The file, opened by one process; others may have it open, too."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, timeout=30, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        # No process's end loses anything so; a power cut may lose the last moments, and a run is then repeated.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(TABLES)
        self._add_columns()

    def _add_columns(self) -> None:
        """Give a file that an older version made the columns that it lacks."""
        if self._columns() >= ADDED.keys():  # so that readers wait for no writer
            return
        with self.transaction():
            for name in ADDED.keys() - self._columns():
                self._db.execute(f"ALTER TABLE runs ADD COLUMN {name} {ADDED[name]}")

    def _columns(self) -> set[str]:
        return {column for _, column, *_ in self._db.execute("PRAGMA table_info(runs)")}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's changes, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add(
        self,
        client: ClientId,
        job: str,
        day: Day,
        scheduled_for: str,
        trigger: str,
        state: str = "queued",
        attempt: int = 1,
        not_before: float = 0.0,
        parts: int = 1,
        alone: bool = False,
    ) -> Run | None:
        """Write a new run down; None where that attempt is there already."""
        values = (client, job, day, scheduled_for, attempt, trigger, state, not_before)
        names = "client, job, day, scheduled_for, attempt, trigger, state, not_before, parts, alone"
        marks = ", ".join("?" * (len(values) + 2))
        done = self._db.execute(f"INSERT OR IGNORE INTO runs ({names}) VALUES ({marks})", [*values, parts, alone])  # noqa: S608 - constants
        return Run(int(done.lastrowid or 0), *values, parts=parts, alone=alone) if done.rowcount else None

    def update(self, run_ids: Sequence[int], **values: object) -> None:
        """Change columns of some runs, or of none."""
        names = ", ".join(f"{name} = ?" for name in values)
        marks = ", ".join("?" * len(run_ids))
        self._db.execute(f"UPDATE runs SET {names} WHERE id IN ({marks})", [*values.values(), *run_ids])  # noqa: S608 - names are this project's own

    def finish(self, run: Run, **values: object) -> None:
        """Change columns of a run that still runs in the same process; not of one that is another's by now."""
        names = ", ".join(f"{name} = ?" for name in values)
        same = "id = ? AND state = 'running' AND pid IS ?"
        self._db.execute(f"UPDATE runs SET {names} WHERE {same}", [*values.values(), run.id, run.pid])  # noqa: S608 - names are this project's own

    def claim(self, pid: int, started: float, runs: Iterable[Run]) -> None:
        """Write down which process will start those that wait, and that no process has claimed."""
        mine = [(pid, started, run.id) for run in runs if run.state == "queued" and run.pid is None]
        self._db.executemany(
            "UPDATE runs SET pid = ?, pid_started = ? WHERE id = ? AND state = 'queued' AND pid IS NULL", mine
        )

    def runs(self) -> list[Run]:
        """Return every run, the latest last."""
        return self._find()

    def get(self, run_id: int) -> Run | None:
        """Return one run; None where its client has been forgotten meanwhile."""
        return next(iter(self._find("id = ?", [run_id])), None)

    def in_state(self, state: str) -> list[Run]:
        """Return the runs of one state, in the order in which they became due."""
        return sorted(self._find("state = ?", [state]), key=lambda run: (run.scheduled_for, run.id))

    def of_client(self, client: ClientId, jobs: Sequence[str], limit: int) -> list[Run]:
        """Return a client's latest runs of some jobs, or of all, the latest last."""
        among = f" AND job IN ({', '.join('?' * len(jobs))})" if jobs else ""
        return self._find(f"client = ?{among}", [client, *jobs], limit)

    def unfinished(self) -> list[Run]:
        """Return the runs that wait or run, the latest last."""
        return self._find("state IN ('queued', 'running')")

    def due_at(self, scheduled_for: str) -> list[Run]:
        """Return the runs of one scheduled time, the latest last."""
        return self._find("scheduled_for = ?", [scheduled_for])

    def of_day(self, client: ClientId, job: str, day: Day) -> list[Run]:
        """Return the runs of a client's job for one date, the latest last."""
        return self._find("client = ? AND job = ? AND day = ?", [client, job, day])

    def waiting(self, client: ClientId, job: str) -> list[Run]:
        """Return the first attempts that were due on time and have not started."""
        first = "client = ? AND job = ? AND state = 'queued' AND attempt = 1 AND trigger IN ('schedule', 'catch-up')"
        return self._find(first, [client, job])

    def predictions_since_training(self, client: ClientId) -> list[Run] | None:
        """Return the predictions that were done after the client's latest training; None where there is no training."""
        trained = self._find("client = ? AND job = 'train' AND state != 'missed'", [client], limit=1)
        done = "client = ? AND job = 'predict' AND state = 'done' AND trigger != 'backfill' AND id > ?"
        return self._find(done, [client, trained[0].id]) if trained else None

    def latest(self, states: Sequence[str] = STATES) -> dict[tuple[ClientId, str], Run]:
        """Return each client's and job's latest started run in one of these states, for no date filled in later."""
        on_time = f"started IS NOT NULL AND trigger != 'backfill' AND state IN ({', '.join('?' * len(states))})"
        chosen = f"id IN (SELECT max(id) FROM runs WHERE {on_time} GROUP BY client, job)"  # noqa: S608 - constants
        return {(run.client, run.job): run for run in self._find(chosen, states)}

    def latest_backfills(self) -> dict[ClientId, Run]:
        """Return each client's latest run that fills a date in, whatever became of it."""
        chosen = "id IN (SELECT max(id) FROM runs WHERE trigger = 'backfill' GROUP BY client)"
        return {run.client: run for run in self._find(chosen, [])}

    def recent(self, count: int) -> dict[tuple[ClientId, str], list[Run]]:
        """Return the last `count` runs of each client's jobs, the latest last; none that was backfilled."""
        place = "row_number() OVER (PARTITION BY client, job ORDER BY id DESC) AS place"
        ranked = f"SELECT id, {place} FROM runs WHERE trigger != 'backfill'"  # noqa: S608 - constants
        found: dict[tuple[ClientId, str], list[Run]] = {}
        for run in self._find(f"id IN (SELECT id FROM ({ranked}) WHERE place <= ?)", [count]):  # noqa: S608 - constants
            found.setdefault((run.client, run.job), []).append(run)
        return found

    def failed_before(self, run: Run) -> bool:
        """Return whether the last finished run of the same client and job, before this scheduled time, had failed."""
        before = "client = ? AND job = ? AND ended IS NOT NULL AND scheduled_for < ?"
        found = self._find(before, [run.client, run.job, run.scheduled_for], limit=1)
        return bool(found) and found[0].state in FAILED

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many runs there are of each job and state."""
        rows = self._db.execute("SELECT job, state, count(*) FROM runs GROUP BY job, state")
        return {(job, state): count for job, state, count in rows}

    def forget(self, before: str) -> list[str]:
        """Delete runs that ended, or were missed, before a UTC time; return their logs."""
        old = "state NOT IN ('queued', 'running') AND coalesce(ended, scheduled_for) < ?"
        logs = [run.log for run in self._find(old, [before]) if run.log]
        self._db.execute(f"DELETE FROM runs WHERE {old}", [before])  # noqa: S608 - a constant
        return logs

    def forget_client(self, client: ClientId) -> None:
        """Delete all that is known of a client."""
        with self.transaction():
            for table in ("runs", "agenda", "pauses"):
                self._db.execute(f"DELETE FROM {table} WHERE client = ?", [client])  # noqa: S608 - constants

    @property
    def last_tick(self) -> float | None:
        """When the scheduler last looked what was due, in seconds since 1970."""
        row = self._db.execute("SELECT value FROM facts WHERE name = 'last_tick'").fetchone()
        return float(row[0]) if row else None

    def ticked(self, now: float) -> None:
        """Say that everything up to now has been looked at."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES ('last_tick', ?)", [now])

    def agenda(self) -> dict[tuple[ClientId, str], str]:
        """Return the timing by which each client's job was last known to be due."""
        return {(ClientId(client), job): timing for client, job, timing in self._db.execute("SELECT * FROM agenda")}

    def set_agenda(self, timings: Iterable[tuple[ClientId, str, str]]) -> None:
        """Replace the agenda by (client, job, timing)."""
        self._db.execute("DELETE FROM agenda")
        self._db.executemany("INSERT INTO agenda VALUES (?, ?, ?)", timings)

    def pauses(self) -> dict[tuple[ClientId, str], str]:
        """Return the paused (client, job), and since when."""
        return {(ClientId(client), job): since for client, job, since in self._db.execute("SELECT * FROM pauses")}

    def pause(self, client: ClientId, job: str, since: str) -> None:
        """Keep a client's job from being started on time."""
        self._db.execute("INSERT OR IGNORE INTO pauses VALUES (?, ?, ?)", [client, job, since])

    def resume(self, client: ClientId, job: str) -> None:
        """Let it be started again, from its next time on: what was missed meanwhile is not caught up with."""
        self._db.execute("DELETE FROM agenda WHERE client = ? AND job = ?", [client, job])
        self._db.execute("DELETE FROM pauses WHERE client = ? AND job = ?", [client, job])

    def _find(self, where: str = "1", values: Sequence[object] = (), limit: int = -1) -> list[Run]:
        """Return the runs of an SQL condition, the latest last."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - conditions are this project's own
        return [_run(*row) for row in reversed(self._db.execute(query, [*values, limit]).fetchall())]


def _run(number: int, client: object, job: str, day: object, *others: Any) -> Run:
    """Return a row of the file, in the order of `_COLUMNS`, as a run."""
    columns = (*others[:-1], bool(others[-1]))  # SQLite knows no bool
    return Run(number, ClientId(client), job, Day(day), *columns)
