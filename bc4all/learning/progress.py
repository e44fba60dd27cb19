"""How far pieces of work have come that run side by side, and about how long they take still.

What is left is foreseen from this work alone: from how long its finished pieces took, and from how far the running ones
say that they are. Where neither tells, nothing is foreseen.
"""

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from bc4all.wording import about_time, elapsed_time

_FORESEEN_SHARE = 0.1  # of a piece, by which it is foreseen when it ends
_FORESEEN_S = 5.0  # after which it is worth saying


@dataclass
class _Reports:
    """The first and the last time, in seconds, at which a running piece said what share of it is done."""

    first: tuple[float, float]
    last: tuple[float, float]

    def left(self, now: float) -> float | None:
        """Return the seconds that it takes still; None where it has not come far enough to tell."""
        seconds, share = (after - before for before, after in zip(self.first, self.last, strict=True))
        if share < _FORESEEN_SHARE or not seconds:
            return None
        return max(0.0, (1 - self.last[1]) * seconds / share - (now - self.last[0]))


class Progress:
    """How far `pieces` pieces of work of one `name` have come, `at_once` of them side by side.

    They begin in their order, as Spark's tasks do. `clock` gives seconds.
    """

    def __init__(self, name: str, pieces: int, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._pieces, self._at_once, self._clock = name, pieces, at_once, clock
        self._begun = clock()
        self._reports: dict[int, _Reports] = {}
        self._ends: dict[int, float] = {}  # in the order in which they ended

    def report(self, piece: int, share: float) -> None:
        """Take down what share of a piece is done; less than before, where it was begun again."""
        if not (0 <= piece < self._pieces and 0 <= share <= 1):
            return
        at = self._clock(), share
        before = self._reports.get(piece)
        if before is None or share < before.last[1]:
            self._reports[piece] = _Reports(at, at)
        else:
            before.last = at

    def end(self, pieces: Iterable[int]) -> None:
        """Take down pieces that have ended; those that are down already stay as they are."""
        now = self._clock()
        for piece in pieces:
            self._ends.setdefault(piece, now)

    @property
    def elapsed(self) -> float:
        """Seconds since the first piece began."""
        return self._clock() - self._begun

    def left(self) -> float | None:
        """Return about how many seconds it takes still; None where that cannot be told yet."""
        now, ends = self._clock(), dict(self._ends)
        # A piece begins at first, or when another ends.
        begins = [self._begun] * self._at_once + list(ends.values())
        running = [piece for piece in range(min(self._pieces, len(begins))) if piece not in ends]
        lefts = [self._reports[piece].left(now) if piece in self._reports else None for piece in running]
        lengths = [end - begins[min(piece, len(begins) - 1)] for piece, end in ends.items()]
        lengths += [now + left - begins[piece] for piece, left in zip(running, lefts, strict=True) if left is not None]
        if not lengths:
            return None
        usual = fmean(lengths)
        free = [  # when each core is
            begins[piece] + usual - now if left is None else left for piece, left in zip(running, lefts, strict=True)
        ]
        if any(seconds < 0 for seconds in free):  # longer than usual: there is no saying
            return None
        free += [0.0] * (self._at_once - len(running))
        heapq.heapify(free)
        for _ in range(self._pieces - len(ends) - len(running)):
            heapq.heapreplace(free, free[0] + usual)
        return max(free)

    def __str__(self) -> str:
        """Return it as one line: `fit 1 of 3, 52%, 2:10, about 3 min left`."""
        ends, reports = dict(self._ends), dict(self._reports)
        running = sum(report.last[1] for piece, report in reports.items() if piece not in ends)
        share = [f"{int(100 * (len(ends) + running) / self._pieces)}%"] if running else []
        left = self.left() if self.elapsed >= _FORESEEN_S and len(ends) < self._pieces else None
        time_left = [] if left is None else [f"about {about_time(left)} left"]
        return ", ".join(
            [f"{self._name} {len(ends)} of {self._pieces}", *share, elapsed_time(self.elapsed), *time_left]
        )
