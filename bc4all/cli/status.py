"""What people see of runs: the fleet's state, a client's runs, a run's log."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bc4all.config.clients import Client
from bc4all.config.timing import firings
from bc4all.identity import ClientId
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.schedule.history import FAILED, History, Run
from bc4all.schedule.trainings import WAITS
from bc4all.state import State
from bc4all.wording import quantity

_COLOURS = {"done": "green", "running": "blue", "queued": "blue", "missed": "yellow", **dict.fromkeys(FAILED, "red")}
_HORIZON = timedelta(days=366)


def read_pauses(state: State) -> dict[tuple[ClientId, str], str]:
    """Return the paused (client, job), and since when, without making a state where there is none."""
    if not state.folder.exists():
        return {}
    with closing(History(state.history)) as history:
        return history.pauses()


def fleet_status(
    clients: Sequence[Client], jobs: Sequence[str], history: History, now: datetime
) -> list[dict[str, Any]]:
    """Return a row for each client and job: its last run and when the next is due, in UTC.

    None for what there is not.
    """
    latest, pauses = history.latest(), history.pauses()
    latest |= {(run.client, run.job): run for run in history.in_state("queued") if run.note == WAITS}
    rows = []
    for client in clients:
        for job in jobs or SCHEDULED_JOBS:
            timing, run = client.due(job), latest.get((client.id, job))
            paused = (client.id, job) in pauses or timing is None
            upcoming = None
            if timing and not paused:
                upcoming = next(firings(timing.expression, timing.zone, now, now + _HORIZON), None)
            rows.append(
                {
                    "client": client.id,
                    "job": job,
                    "state": run.state if run else None,
                    "failed": bool(run and run.state in FAILED),
                    "paused": paused,
                    "day": run.day if run else None,
                    "started": run.started if run else None,
                    "seconds": run.seconds if run else None,
                    "next": upcoming.isoformat(timespec="seconds") if upcoming else None,
                    "version": run.version if run else None,
                    "top_5": run.top_5 if run else None,
                    "rows": run.rows if run else None,
                    "error": run.error if run else None,
                    "note": run.note if run else None,
                    "unnotified": run.unnotified if run else None,
                }
            )
    return rows


def status_table(rows: Sequence[dict[str, Any]], now: datetime | None = None) -> Group:
    """Return the fleet at a glance.

    Below it what went wrong in the last run of each job that failed, or is to be known.
    """
    now = now or datetime.now(UTC)
    failed = sum(row["failed"] for row in rows)
    table = Table(title=f"{quantity(len(rows), 'job')}, {failed} failed", title_justify="left")
    for name in ("client", "job", "state", "age", "next in", "version", "top-5", "took"):
        table.add_column(name, justify="right" if name in ("age", "next in", "version", "top-5", "took") else "left")
    for row in rows:
        table.add_row(
            row["client"],
            row["job"],
            _state(row["state"]),
            _span(now - datetime.fromisoformat(row["started"])) if row["started"] else "–",
            "paused" if row["paused"] else _span(datetime.fromisoformat(row["next"]) - now) if row["next"] else "–",
            str(row["version"] or "–"),
            f"{row['top_5']:.3f}" if row["top_5"] is not None else "–",
            _span(timedelta(seconds=row["seconds"])) if row["seconds"] is not None else "–",
        )
    told = [(f"{row['client']}: {row['job']}", row["error"] if row["failed"] else row["note"]) for row in rows]
    unnotified = [row["unnotified"] for row in rows if row["unnotified"]]
    if unnotified:
        told.append((f"{quantity(len(unnotified), 'notice')} not delivered, the last", unnotified[-1]))
    return _with_errors(table, told)


def runs_table(client_id: ClientId, runs: Sequence[Run]) -> Group:
    """Return a client's runs, a row each, with what went wrong."""
    table = Table(title=f"{client_id}: {quantity(len(runs), 'run')}", title_justify="left")
    for name in ("run", "job", "due (UTC)", "by", "try", "state", "took"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        due = run.scheduled_for[:16].replace("T", " ")
        took = _span(timedelta(seconds=run.seconds)) if run.seconds is not None else "–"
        table.add_row(str(run.id), run.job, due, run.trigger, str(run.attempt), _state(run.state), took)
    return _with_errors(table, [(f"run {run.id}", run.error or run.note) for run in runs])


def _with_errors(table: Table, errors: Sequence[tuple[str, str | None]]) -> Group:
    """Return the table, and below it what went wrong: whole, which no column is wide enough for."""
    return Group(table, *[Text(f"{whose}: {error}") for whose, error in errors if error])


def log_lines(log: Path, client_id: ClientId) -> Iterator[str]:
    """Yield a run's log as text, without the events of other clients that shared its application."""
    with log.open(errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line) if line.startswith("{") else None
            except ValueError:
                event = None
            if not isinstance(event, dict):
                yield line.rstrip("\n")
            elif event.get("context", {}).get("client_id", client_id) == client_id:
                yield " ".join(str(event.get(name, "")) for name in ("ts", "level", "logger", "msg"))
                yield from _trace(event.get("exception"))


def _trace(exception: Any) -> Iterator[str]:
    for frame in (exception or {}).get("stacktrace") or ():
        if isinstance(frame, dict):
            yield "    " + " ".join(str(value) for value in frame.values() if value)


def _state(state: str | None) -> str:
    return f"[{_COLOURS[state]}]{state}[/]" if state else "–"


def _span(length: timedelta) -> str:
    """Return the two largest units of a length of time: 3 d 4 h, 12 m 5 s."""
    seconds = max(0, int(length.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2])
