"""What a job is at, for those who watch it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """The phases that go on: one for each thread that works."""

    def __init__(self) -> None:
        self._now: dict[int, str] = {}

    @contextmanager
    def at(self, told: str) -> Iterator[None]:
        """Let this be what goes on for as long as the block lasts, then what went on before."""
        thread = threading.get_ident()
        before = self._now.get(thread)
        self._now[thread] = told
        try:
            yield
        finally:
            if before is None:
                del self._now[thread]
            else:
                self._now[thread] = before

    def __str__(self) -> str:
        """Return all of them, as one line."""
        return "; ".join(list(self._now.values()))
