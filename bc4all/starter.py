"""What a job tells the process that has started it: lines of JSON, appended to the file that $BC4ALL_RESULTS names.

It tells when it is launched and when its driver runs, with which clients it begins, and what becomes of each.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bc4all.identity import ClientId, Day
from bc4all.variables import RESULTS

log = logging.getLogger(__name__)

_EVENTS = ("launched", "drives", "begun", "by hand", "interrupted")
_LAUNCHED, _DRIVES, _BEGUN, _BY_HAND, _INTERRUPTED = ({"event": event} for event in _EVENTS)


@dataclass(frozen=True)
class ByHand:
    """What a job is that no starter watches: since when, in seconds since 1970, and in which process."""

    job: str
    day: Day
    at: float
    pid: int


def tell_to(file: Path, job: str, day: Day) -> None:
    """Let the job that this process becomes tell to a file of its own, which no starter reads while it runs."""
    os.environ[RESULTS] = str(file)
    _tell([_BY_HAND | asdict(ByHand(job, day, time.time(), os.getpid()))])


def tell_launched() -> None:
    """Say that a driver on this machine comes next."""
    _tell([_LAUNCHED])


def tell_driver_runs() -> None:
    """Say that it has come."""
    _tell([_DRIVES])


def tell_begun(client_ids: Iterable[ClientId]) -> None:
    """Say with whom the job begins."""
    _tell([_BEGUN | {"client_id": client_id} for client_id in client_ids])


def tell_result(result: Mapping[str, Any]) -> None:
    """Say what became of a client, at once."""
    _tell([result])


def tell_interrupted() -> None:
    """Say that a person has ended the job."""
    _tell([_INTERRUPTED])


def _tell(lines: Iterable[Mapping[str, Any]]) -> None:
    file = os.environ.get(RESULTS)
    if not file:
        return
    try:
        with Path(file).open("a") as results:
            results.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:  # the clients' work goes on; an outcome that was not told counts as lost
        log.warning("the starter cannot be told: %s", error)


@dataclass
class Report:
    """What a job has reported: the clients that it has begun with, and the outcome of each that is done."""

    launched: bool = False
    driver_runs: bool = False
    interrupted: bool = False
    begun: set[ClientId] = field(default_factory=set)
    results: dict[ClientId, dict[str, Any]] = field(default_factory=dict)
    by_hand: ByHand | None = None  # where no starter watches


def read_report(file: Path) -> Report:
    """Return what a job has told; what it was writing when it died is left out."""
    report = Report()
    for text in file.read_text().splitlines() if file.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        report.launched |= line == _LAUNCHED
        report.driver_runs |= line == _DRIVES
        report.interrupted |= line == _INTERRUPTED
        if line.get("event") == _BY_HAND["event"]:
            report.by_hand = ByHand(line["job"], Day(line["day"]), line["at"], line["pid"])
        if "client_id" in line:
            client_id = ClientId(line["client_id"])
            if "event" in line:
                report.begun.add(client_id)
            else:
                report.results[client_id] = line
    return report
