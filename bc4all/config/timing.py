"""When jobs are due: five-field cron expressions in a client's own time zone, with `H` for a place of the client's own.

`H` stands for a number drawn from the client's id and the job, the same on every machine and in every run, so that a
fleet's jobs spread over the hour and the day. What an expression means is cronsim's to say: Debian cron's meaning,
daylight saving included. Nothing here starts a job.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_SPREAD = (range(60), range(24), range(1, 29), range(1, 13), range(7))  # what H may become; each month has a 28th
# What every cron understands, and alike: no L, W or # (which cronsim knows), steps only over `*` or a real span.
_TERM = re.compile(r"\*(/\d+)?|[0-9A-Za-z]+(-[0-9A-Za-z]+(/\d+)?)?", re.ASCII)
_NOT_CRON = re.compile(r"L|LW|\dL|0*(\w+)-0*\1/.*", re.ASCII)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9]\d{0,5})([smhd])", re.ASCII)


@dataclass(frozen=True)
class Timing:
    """When one client's job is due, and what is done when it fails or was missed. Durations are in seconds."""

    expression: str  # five cron fields, without H
    zone: ZoneInfo
    retries: int
    retry_delay: int
    timeout: int
    catch_up: str  # none, one or all
    catch_up_window: int
    batch: bool  # whether it may share a Spark application with others that are due at the same minute

    @property
    def key(self) -> str:
        """What makes its times: while it stays the same, a missed time is one to catch up with."""
        return f"{self.expression} {self.zone.key}"

    def day(self, at: datetime) -> Day:
        """Return the date that a run due at this time is for, in the client's zone."""
        return Day(at.astimezone(self.zone).date().isoformat())


def parse_duration(text: str) -> int:
    """Return the seconds that `90s`, `5m`, `6h` or `1d` means. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no duration: write 90s, 5m, 6h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def spread(expression: str, client_id: ClientId, job: str) -> str:
    """Return the expression with each field `H` replaced by the number that this client's job has there."""
    fields = expression.split()
    for place, field in enumerate(fields):
        if field == "H":
            drawn = hashlib.sha256(f"{client_id}/{job}/{place}".encode()).digest()
            numbers = _SPREAD[place]
            fields[place] = str(numbers[int.from_bytes(drawn[:8], "big") % len(numbers)])
    return " ".join(fields)


def schedule_fault(expression: str) -> str | None:
    """Return what is wrong with a cron expression; None where nothing is."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"a schedule has five fields ({', '.join(_FIELDS)}); {expression!r} has {len(fields)}"
    for name, field in zip(_FIELDS, fields, strict=True):
        for term in field.split(","):
            if field != "H" and (not _TERM.fullmatch(term) or _NOT_CRON.fullmatch(term.upper())):
                return f"{term!r} is no {name} of a schedule"
    try:
        CronSim(spread(expression, ClientId("any"), ""), datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{expression!r} is no schedule: {str(error).lower()}"
    return None


def firings(expression: str, zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the times after `after` up to `until`, in UTC, at which a spread expression is due in `zone`."""
    for due in CronSim(expression, after.astimezone(zone)):
        if due > until:
            return
        yield due.astimezone(UTC)


def last_firing(expression: str, zone: ZoneInfo, before: datetime) -> datetime | None:
    """Return the last time before `before`, in UTC, at which a spread expression was due; None where there was none."""
    due = next(CronSim(expression, before.astimezone(zone), reverse=True), None)
    return due.astimezone(UTC) if due else None


def local_zone() -> str:
    """Return the name of this process's time zone: $TZ, else this machine's.

    An empty $TZ is UTC, as it is to the system's own clock. Raises ConfigurationError where $TZ names no zone of the
    database (CET-1CEST, UTC+2): its hours would differ from those of the schedules.
    """
    said = os.environ.get("TZ")
    if said is None:
        return system_zone()
    named = said.removeprefix(":") or "UTC"
    name = _zone_of(named) if named.startswith("/") else named
    if not is_zone(name):
        remedy = "set TZ to a name such as Europe/Berlin, or unset it"
        raise ConfigurationError(f"TZ is {said!r}, which is no name of the time zone database", remedy=remedy)
    return name


def system_zone() -> str:
    """Return the name of this machine's time zone, which cron fires in: where /etc/localtime leads, else UTC."""
    name = _zone_of("/etc/localtime")
    return name if is_zone(name) else "UTC"


def _zone_of(file: str) -> str:
    """Return the name of the zone whose rules a file holds, from where it lies; empty where that tells none."""
    return str(Path(file).resolve()).partition("/zoneinfo/")[2]


def is_zone(name: str) -> bool:
    """Return whether the time zone database has this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such name; no name at all; a folder's
        return False
    return True
