"""How far a long fit has come: what it reports from inside, to a listener if it has one.

Where the listener is, and what it does with it, is not known here. A report to none costs nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Listener: TypeAlias = Callable[[float], None]  # takes the share of a fit that is done, 0 to 1

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


def report(share: float) -> None:
    """Tell the listener what share is done of the innermost `part`, or of the whole."""
    listener = _listener.get()
    if listener:
        listener(share)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener have what is reported in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def part(begin: float, end: float) -> Iterator[None]:
    """Let the block be the part of the whole from one share to another."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    with listening(lambda share: listener(begin + share * (end - begin))):
        yield
