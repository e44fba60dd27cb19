"""Items, in their order, as packs that take no more than so much together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def packed(items: Iterable[T], size: Callable[[T], int], budget: int, most: int | None = None) -> Iterator[list[T]]:
    """Yield packs of at most `most` items whose sizes add up to at most `budget`; an item that is larger is alone."""
    pack: list[T] = []
    room = budget
    for item in items:
        taken = size(item)
        if pack and (room < taken or len(pack) == most):
            yield pack
            pack, room = [], budget
        pack.append(item)
        room -= taken
    if pack:
        yield pack
