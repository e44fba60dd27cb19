"""What a job is at, for those who watch it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """The phases that go on: one for each thread that works."""

    def __init__(self) -> None:
        self._now: dict[int, tuple[object, ...]] = {}

    @contextmanager
    def at(self, *parts: object) -> Iterator[None]:
        """Let this be what goes on for as long as the block lasts, then what went on before.

        Each part is shown as the text that it is when it is looked at.
        """
        thread = threading.get_ident()
        before = self._now.get(thread)
        self._now[thread] = parts
        try:
            yield
        finally:
            if before is None:
                del self._now[thread]
            else:
                self._now[thread] = before

    def __str__(self) -> str:
        """Return all of them, as one line."""
        return "; ".join(" · ".join(map(str, parts)) for parts in list(self._now.values()))
