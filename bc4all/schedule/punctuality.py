"""How old a job's last success may become, by the job's own schedule: one alert serves every client.

Nothing here reads a clock or the history.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from bc4all.config.timing import Timing, firings, last_firing

_AHEAD = timedelta(days=8)  # a week and a day: the night and the weekend in which a job rests are among it
_KEPT = timedelta(days=1)  # less than the week in which a longer time between two firings is seen before it comes
_FAR = timedelta(days=366 * 9)  # a 29th of February is eight years away at most
_MIN_GRACE_S = 3600  # seconds that a run may wait for room and take, whatever its timeout


@dataclass(frozen=True)
class Expectation:
    """When a job is due next, and how many seconds ago its last success may have ended."""

    next_due: datetime
    allowed_age: float


class Expectations:
    """The expectations of timings: when each is due next is always true, its allowed age is worked out once a day."""

    def __init__(self) -> None:
        self._by_timing: dict[tuple[str, int], tuple[datetime, Expectation]] = {}

    def of(self, timing: Timing, now: datetime) -> Expectation | None:
        """Return what is expected of a timing; None where it is not due for years."""
        key = timing.key, timing.timeout
        made_at, expected = self._by_timing.get(key, (now, None))
        if expected is None or now - made_at >= _KEPT:
            made_at, expected = now, _expectation(timing, now)
        elif expected.next_due <= now:  # of a job that is due each minute, all of it would take too long each time
            due = next(firings(timing.expression, timing.zone, now, now + _FAR), None)
            expected = replace(expected, next_due=due) if due else None
        if expected is not None:
            self._by_timing[key] = made_at, expected
        return expected


def _expectation(timing: Timing, now: datetime) -> Expectation | None:
    """Return what is expected of a timing; None where it is not due for years.

    The allowed age is the longest time between two of its firings, plus its timeout or an hour, whichever is longer.
    Those count that come within eight days, the first one after these, and those from the last one on that a run under
    way may have been started by: on a Monday morning the age of Friday's success is no fault.
    """
    grace = timedelta(seconds=max(timing.timeout, _MIN_GRACE_S))
    start = last_firing(timing.expression, timing.zone, now - grace) or now - grace
    next_due, times = None, [start]
    for at in firings(timing.expression, timing.zone, start, now + _FAR):
        times.append(at)
        if at > now:
            next_due = next_due or at
            if at > now + _AHEAD:
                break
    if next_due is None:
        return None
    longest = max(after - before for before, after in pairwise(times))
    return Expectation(next_due, (longest + grace).total_seconds())
