"""What is due: the times of every enabled client's jobs since the last look, missed ones told from punctual ones.

Nothing here starts a job, reads a clock or a file.
"""

import heapq
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bc4all.config.clients import Client
from bc4all.config.timing import Timing, firings
from bc4all.identity import ClientId
from bc4all.job_kinds import SCHEDULED_JOBS

Key = tuple[ClientId, str]  # client id and job

PUNCTUAL = timedelta(minutes=2)  # later than this, a time counts as missed
_END_OF_TIME = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)  # room for any zone


def due_timings(clients: Iterable[Client], pauses: Container[Key] = ()) -> Iterator[tuple[Key, Timing]]:
    """Yield the (client, job) that are enabled and not paused, and their timings."""
    for client in clients:
        for job in SCHEDULED_JOBS:
            timing = client.due(job)
            if timing and (client.id, job) not in pauses:
                yield (client.id, job), timing


@dataclass(frozen=True)
class Due:
    """One time at which a client's job is due; `wanted` is False where it was missed and is not caught up with."""

    client: ClientId
    job: str
    at: datetime  # UTC
    trigger: str  # schedule or catch-up
    wanted: bool
    timing: Timing


@dataclass
class _Entry:
    timing: Timing
    times: Iterator[datetime]
    next: datetime | None


class Agenda:
    """The next time of every job. A changed or resumed schedule is never due for the past."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._heap: list[tuple[datetime, Key]] = []

    def replace(
        self,
        timings: Mapping[Key, Timing],
        now: datetime,
        known: Mapping[Key, str] | None = None,
        since: datetime | None = None,
    ) -> None:
        """Let these timings be in force from now on.

        A job whose times stay the same goes on where it was; so does one that is in `known`, as it was when somebody
        last looked, at `since`. Every other one's first time is after `now`.
        """
        before, self._entries = self._entries, {}
        for key, timing in timings.items():
            old = before.get(key)
            if old and old.timing.key == timing.key:
                self._entries[key] = _Entry(timing, old.times, old.next)
                continue
            start = now
            if since and known and known.get(key) == timing.key:
                start = min(now, max(since, now - timedelta(seconds=timing.catch_up_window)))
            times = firings(timing.expression, timing.zone, start, _END_OF_TIME)
            self._entries[key] = _Entry(timing, times, next(times, None))
        self._heap = [(entry.next, key) for key, entry in self._entries.items() if entry.next]
        heapq.heapify(self._heap)

    @property
    def keys(self) -> Iterator[tuple[ClientId, str, str]]:
        """Client, job and what makes their times."""
        return ((client, job, entry.timing.key) for (client, job), entry in self._entries.items())

    @property
    def next(self) -> datetime | None:
        """The next time at which anything is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: datetime) -> list[Due]:
        """Return every time up to `now` that was not returned before, in order."""
        passed: dict[Key, list[datetime]] = {}
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            passed.setdefault(key, []).append(at)
            entry = self._entries[key]
            entry.next = next(entry.times, None)
            if entry.next:
                heapq.heappush(self._heap, (entry.next, key))
        found = [due for key, times in passed.items() for due in _judge(key, times, now, self._entries[key].timing)]
        return sorted(found, key=lambda due: (due.at, due.client, due.job))


def _judge(key: Key, times: list[datetime], now: datetime, timing: Timing) -> Iterator[Due]:
    """Punctual times are wanted; of the missed ones those that `catch_up` says, as far back as its window."""
    punctual = [at for at in times if at >= now - PUNCTUAL]
    window = timedelta(seconds=timing.catch_up_window)
    missed = [at for at in times if now - window <= at < now - PUNCTUAL]
    caught_up = {"none": [], "one": [] if punctual else missed[-1:], "all": missed}[timing.catch_up]
    for at in missed:
        yield Due(*key, at, "catch-up", at in caught_up, timing)
    for at in punctual:
        yield Due(*key, at, "schedule", True, timing)
