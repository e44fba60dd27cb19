"""Whole processes measured in turn, so that what else the machine does meets all ways alike; and their table."""

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

OURS = "bc4all"
HEAD = """\
| what | way | median s | lowest to highest | rounds | of bc4all | same best category |
|---|---|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True)
class Turns:
    """What each way took, in seconds, and for which part of the products it has this project's best category."""

    what: str
    size: int  # of what
    seconds: Mapping[str, Sequence[float]]
    same: Mapping[str, float]

    def median(self, way: str) -> float:
        """Return the median of a way's seconds."""
        return statistics.median(self.seconds[way])

    def ratio(self, way: str) -> float:
        """Return how many times as long as this project a way took."""
        return self.median(way) / self.median(OURS)

    def lines(self) -> list[str]:
        """Return the rows of its table."""
        return [
            f"| {self.what} | {way} | {self.median(way):.1f} | {min(taken):.1f} to {max(taken):.1f} | {len(taken)} |"
            f" {self.ratio(way):.2f} | {f'{self.same[way]:.4f}' if way in self.same else ''} |"
            for way, taken in self.seconds.items()
        ]

    def markdown(self) -> str:
        """Return its table."""
        return "\n".join([HEAD, *self.lines()])


def in_turn(
    ways: Mapping[str, Callable[[], object]], rounds: int, once: Collection[str] = ()
) -> dict[str, list[float]]:
    """Do each of the ways in each round, those of `once` in the first; return the seconds that each took.

    Each round begins with another way: a machine that gets slower, or warmer, favours none.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = [name for name in ways if not number or name not in once]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            started = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds
