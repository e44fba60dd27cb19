"""What a job tells the process that has started it: lines of JSON, appended to the file that $BC4ALL_RESULTS names.

It tells when it is launched and when its driver runs, with which clients it begins, and what becomes of each.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bc4all.identity import ClientId
from bc4all.variables import RESULTS

log = logging.getLogger(__name__)

_LAUNCHED, _DRIVES, _BEGUN = ({"event": event} for event in ("launched", "drives", "begun"))


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


def _tell(lines: Iterable[Mapping[str, Any]]) -> None:
    file = os.environ.get(RESULTS)
    if not file:
        return
    try:
        with Path(file).open("a") as results:
            results.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:  # the clients' work goes on; what was not told counts as lost, and is done again
        log.warning("the starter cannot be told: %s", error)


@dataclass
class Report:
    """What a job has reported: the clients that it has begun with, and the outcome of each that is done."""

    launched: bool = False
    driver_runs: bool = False
    begun: set[ClientId] = field(default_factory=set)
    results: dict[ClientId, dict[str, Any]] = field(default_factory=dict)


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
        if "client_id" in line:
            client_id = ClientId(line["client_id"])
            if "event" in line:
                report.begun.add(client_id)
            else:
                report.results[client_id] = line
    return report
