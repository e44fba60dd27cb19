"""The next 24 hours of a fleet: what is due, how long it takes as a rule, and how full each quarter of an hour is."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from bc4all.config.timing import firings
from bc4all.identity import Day
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.schedule.agenda import Key
from bc4all.site.fleet import ClientFacts
from bc4all.site.simulation import Application, Expected, Firing

SLOT = timedelta(minutes=15)
AHEAD = timedelta(hours=24)
SLOTS = 24 * 4 + 1  # the quarter that holds the first moment is the one that holds the last, a day later
ASSUMED_S = 60.0  # seconds of a job that no client has ever done
_MIN_S = 1.0  # seconds of a run at least: the history counts whole ones


@dataclass(frozen=True)
class Slot:
    """A quarter of an hour: how many runs become due in it, and the most applications that run, wait, and do either."""

    at: datetime
    due: int
    running: int
    waiting: int
    load: int


@dataclass(frozen=True)
class Durations:
    """The usual seconds of each client's job that is due.

    `estimated`: those without a successful run of their own; `assumed`: the jobs that no client has ever done.
    """

    seconds: Mapping[Key, float]
    estimated: Set[Key]
    assumed: Set[str]


@dataclass(frozen=True)
class Overload:
    """A time in which there is always something that waits for a place; `worst` waits longest.

    `runs`: those that become due in it, from the `first` to the `last` of them, in so many `applications`.
    """

    first: datetime
    last: datetime
    runs: int
    applications: int
    worst: Application


@dataclass(frozen=True)
class Late:
    """The run of a client's job that is expected latest after it was due, and how many of the job are overtaken."""

    worst: Expected
    overtaken: int


def durations(clients: Sequence[ClientFacts]) -> Durations:
    """Return how long each job takes that is due: its own median, else the fleet's median of the same job."""
    every = [(one.id, name, job.seconds) for one in clients for name, job in one.jobs.items()]
    own = {(client_id, name): seconds for client_id, name, seconds in every if seconds is not None}
    usual = {
        name: statistics.median([seconds for (_, job), seconds in own.items() if job == name] or [ASSUMED_S])
        for name in SCHEDULED_JOBS
    }
    due = [(one.id, name) for one in clients for name, job in one.jobs.items() if not job.paused]
    estimated = set(due) - own.keys()
    assumed = {name for _, name in estimated} - {name for _, name in own}
    return Durations({key: own.get(key, usual[key[1]]) for key in due}, estimated, assumed)


def due_firings(clients: Sequence[ClientFacts], seconds: Durations, now: datetime, until: datetime) -> list[Firing]:
    """Return what is due after `now` up to `until`: nothing of what is paused or not enabled."""

    @cache  # most clients of a fleet have one of few schedules
    def times(expression: str, zone: ZoneInfo) -> list[tuple[float, Day]]:
        due = firings(expression, zone, now, until)
        return [(at.timestamp(), Day(at.astimezone(zone).date().isoformat())) for at in due]

    return [
        Firing(*key, day, at, max(_MIN_S, seconds.seconds[key]), timing.batch, timing.catch_up == "all")
        for one in clients
        for name in one.jobs
        if (key := (one.id, name)) in seconds.seconds and (timing := one.client.due(name))
        for at, day in times(timing.expression, timing.zone)
    ]


def levels(some: Iterable[Application]) -> list[tuple[float, int, int]]:
    """Return the moments at which anything changes, and how many run and wait from then on."""
    changes: dict[float, list[int]] = {}
    for one in some:
        changes.setdefault(one.ready, [0, 0])[1] += 1
        changes.setdefault(one.left_queue, [0, 0])[1] -= 1
        if one.start is not None:
            changes.setdefault(one.start, [0, 0])[0] += 1
            changes.setdefault(one.end, [0, 0])[0] -= 1
    running = waiting = 0
    result = []
    for at, (more_running, more_waiting) in sorted(changes.items()):
        running, waiting = running + more_running, waiting + more_waiting
        result.append((at, running, waiting))
    return result


def first_slot(now: datetime) -> datetime:
    """Return the beginning of the quarter of an hour that holds `now`."""
    return now - timedelta(minutes=now.minute % 15, seconds=now.second, microseconds=now.microsecond)


def slots(some: Sequence[Application], due: Iterable[Firing], start: datetime) -> list[Slot]:
    """Return the quarters of an hour of a day from `start` on."""
    first, width = start.timestamp(), SLOT.total_seconds()
    counts = [0] * SLOTS
    for firing in due:
        counts[min(SLOTS - 1, int((firing.due - first) // width))] += 1
    most = [[0, 0, 0] for _ in range(SLOTS)]
    changes = levels(some)
    for (at, running, waiting), (until, _, _) in pairwise(changes):
        begin, end = int((at - first) // width), -int(-(until - first) // width)
        for slot in most[max(0, begin) : max(0, end)]:
            slot[:] = max(slot[0], running), max(slot[1], waiting), max(slot[2], running + waiting)
    return [
        Slot(start + place * SLOT, count, *three) for place, (count, three) in enumerate(zip(counts, most, strict=True))
    ]


def worst_overload(some: Sequence[Application]) -> Overload | None:
    """Return the time in which an application waits longest for a place; None where none waits."""
    worst = max(some, key=lambda one: one.left_queue - one.ready, default=None)
    if worst is None or worst.left_queue == worst.ready:
        return None
    begin, end = next((begin, end) for begin, end in _waiting_times(some) if begin <= worst.ready < end)
    within = [one for one in some if begin <= one.runs[0].firing.due < end]
    due = [one.runs[0].firing.due for one in [*within, worst]]
    first, last = (datetime.fromtimestamp(at, UTC) for at in (min(due), max(due)))
    return Overload(first, last, sum(len(one.runs) for one in within), len(within), worst)


def _waiting_times(some: Sequence[Application]) -> Iterator[tuple[float, float]]:
    """Yield from when to when there is always something that waits."""
    begin: float | None = None
    for at, _, waiting in levels(some):
        if waiting and begin is None:
            begin = at
        elif not waiting and begin is not None:
            yield begin, at
            begin = None


def latest_starts(runs: Iterable[Expected]) -> list[Late]:
    """Return each client's job that does not start when it is due, the latest first."""
    late: dict[Key, list[Expected]] = {}
    for run in runs:
        if run.late > 0:
            late.setdefault(run.firing.key, []).append(run)
    found = [
        Late(max(some, key=lambda one: one.late), sum(one.start is None for one in some)) for some in late.values()
    ]
    return sorted(found, key=lambda one: (-one.worst.late, one.worst.firing.due, one.worst.firing.key))
