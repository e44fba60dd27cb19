"""The scheduler's queue, simulated: when each run that is due finds a place, where every run takes its usual time.

The order is that of `schedule.dispatch`. Simplified: nothing runs or waits at the beginning, each run succeeds, and
nothing starts but what is due: no retry, no first training, none after a drift.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf

from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, TRAIN
from bc4all.schedule.agenda import Key


@dataclass(frozen=True, slots=True)  # a large fleet has 100,000 of them a day
class Firing:
    """One time at which a client's job is due, in seconds since 1970, and the seconds that it takes as a rule.

    `shares`: whether it may share an application; `stays`: whether the next time of its job does not overtake it.
    """

    client: ClientId
    job: str
    day: Day
    due: float
    seconds: float
    shares: bool = False
    stays: bool = False

    @property
    def key(self) -> Key:
        """Its client and job."""
        return self.client, self.job

    @property
    def group(self) -> tuple[float, str, str, str]:
        """What those have in common that may share an application."""
        return self.due, self.job, self.day, "" if self.shares else self.client


@dataclass(frozen=True, slots=True)  # a large fleet has 100,000 of them a day
class Expected:
    """What becomes of a firing: ready once none of its client goes before it; `start` is None where it is overtaken.

    `end`: when it has ended, or is overtaken by the next time of its job.
    """

    firing: Firing
    ready: float
    start: float | None
    end: float

    @property
    def left_queue(self) -> float:
        """When it waits no more."""
        return self.end if self.start is None else self.start

    @property
    def late(self) -> float:
        """Seconds from when it was due until it starts, or is overtaken."""
        return self.left_queue - self.firing.due


@dataclass(frozen=True, slots=True)  # a large fleet has 100,000 of them a day
class Application:
    """Runs that start together, or are overtaken together."""

    runs: Sequence[Expected]
    ready: float
    start: float | None
    end: float

    @property
    def left_queue(self) -> float:
        """When it waits no more, as each of its runs."""
        return self.runs[0].left_queue


class _Queue:
    """Runs that wait and applications that run, as `Dispatcher.start` orders them."""

    def __init__(self, max_parallel: int) -> None:
        self._max_parallel = max_parallel
        self.outcomes: list[Expected] = []
        self._queued: dict[Key, list[Firing]] = {}
        self._offered: dict[Key, tuple[Firing, float]] = {}  # the one of them that may start, and since when
        self._order: list[tuple[float, ClientId, str]] = []  # a heap of those that were offered, the longest due first
        self._groups: dict[tuple[float, str, str, str], list[Firing]] = {}
        self._running: list[tuple[float, int, list[Firing]]] = []  # a heap of their ends
        self._busy: set[Key] = set()
        self._trainings: set[tuple[ClientId, float]] = set()  # that have not ended, and when they were due
        self._started = 0

    def run_until(self, moment: float) -> None:
        """Let everything happen that does so before a moment."""
        while self._running and self._running[0][0] < moment:
            self.step(self._running[0][0], ())

    def step(self, now: float, due: Iterable[Firing]) -> None:
        """Queue what is due now, end what has had its time, start what there is room for."""
        changed = list(due)
        for firing in changed:
            self._note(firing, now)
        while self._running and self._running[0][0] <= now:
            for firing in heapq.heappop(self._running)[2]:
                self._busy.discard(firing.key)
                if firing.job == TRAIN.name:
                    self._trainings.discard((firing.client, firing.due))
                changed.append(firing)
        keys = {firing.key for firing in changed}
        for key in keys | {(client, PREDICT.name) for client, job in keys if job == TRAIN.name}:
            self._offer(key, now)
        while len(self._running) < self._max_parallel and (together := self._next()):
            self._start(together, now)

    def _note(self, firing: Firing, now: float) -> None:
        queued = self._queued.setdefault(firing.key, [])
        if not firing.stays:
            for overtaken in queued:
                offered, since = self._offered.get(firing.key, (None, now))
                ready = since if offered is overtaken else now
                self.outcomes.append(Expected(overtaken, ready, None, now))
                if firing.job == TRAIN.name:
                    self._trainings.discard((overtaken.client, overtaken.due))
            queued.clear()
        queued.append(firing)
        if firing.job == TRAIN.name:
            self._trainings.add((firing.client, firing.due))

    def _offer(self, key: Key, now: float) -> None:
        """Let the first of a client's job be started; a prediction waits for a training of the same time."""
        client, job = key
        queued = self._queued.get(key, []) if key not in self._busy else []
        if job == PREDICT.name and self._trainings:
            queued = [one for one in queued if (client, one.due) not in self._trainings]
        first = queued[0] if queued else None
        if first is None:
            self._offered.pop(key, None)
        elif self._offered.get(key, (None,))[0] is not first:
            self._offered[key] = first, now
            self._groups.setdefault(first.group, []).append(first)
            heapq.heappush(self._order, (first.due, client, job))

    def _next(self) -> list[Firing]:
        """Return the runs that start next, together; none where none may."""
        while self._order:
            due, client, job = heapq.heappop(self._order)
            first, _ = self._offered.get((client, job), (None, 0.0))
            if first and first.due == due:  # else started, overtaken, or behind another one by now
                group = self._groups.pop(first.group)
                still = [one for one in group if self._offered.get(one.key, (None,))[0] is one]
                return list({one.client: one for one in still}.values())
        return []

    def _start(self, together: list[Firing], now: float) -> None:
        end = now + max(one.seconds for one in together)
        for firing in together:
            self._queued[firing.key].remove(firing)
            _, since = self._offered.pop(firing.key)
            self._busy.add(firing.key)
            self.outcomes.append(Expected(firing, since, now, end))
        self._started += 1
        heapq.heappush(self._running, (end, self._started, together))


def simulate(due: Iterable[Firing], max_parallel: int) -> list[Expected]:
    """Return what becomes of each firing where at most `max_parallel` applications run."""
    queue = _Queue(max_parallel)
    ordered = sorted(due, key=lambda one: (one.due, one.client, one.job))
    for moment, same in groupby(ordered, key=lambda one: one.due):
        queue.run_until(moment)
        queue.step(moment, same)
    queue.run_until(inf)
    return queue.outcomes


def applications(runs: Iterable[Expected]) -> list[Application]:
    """Return the runs by the applications that they share."""
    together: dict[tuple[object, ...], list[Expected]] = {}
    for run in runs:
        together.setdefault((run.firing.group, run.start, run.end), []).append(run)
    return [Application(some, min(one.ready for one in some), some[0].start, some[0].end) for some in together.values()]
