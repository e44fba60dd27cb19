"""Where fits run: each piece of work as a Spark task, or all of it in the task that runs already.

A large client's trees are shared among all cores; of many small clients each is one task, which costs less than the
handing out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pyspark.sql import SparkSession

from bc4all.learning.model_size import Room, driver_room
from bc4all.learning.progress import Progress
from bc4all.learning.shared_value import Shared, SharedValue
from bc4all.learning.task_progress import watch
from bc4all.learning.task_results import collect

T = TypeVar("T")


class Tasks(Protocol):
    """What a fit asks of the place where it runs: `at_once` pieces of work side by side, `room` for a model."""

    @property
    def at_once(self) -> int: ...

    @property
    def room(self) -> Room: ...

    def each(self, items: Sequence[Any], work: Callable[[Any], Any], name: str) -> list[Any]:
        """Return what `work`, which has a name for those who wait, answers to each item, in their order."""

    def shared(self, value: T) -> AbstractContextManager[Shared[T]]:
        """Let work have a value for as long as the block lasts."""


class SparkTasks:
    """Each piece of work is a Spark task. `show` is where its progress is seen; the log says what it is `about`."""

    def __init__(
        self,
        spark: SparkSession,
        about: str = "learning",
        show: Callable[[Progress], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._spark, self._about, self._show = spark, about, show
        self.at_once, self.room = spark.sparkContext.defaultParallelism, driver_room(spark)

    def each(self, items: Sequence[Any], work: Callable[[Any], Any], name: str) -> list[Any]:
        """Start a Spark task for each; raises TransientFailure as `task_results.collect` does."""
        progress = Progress(name, len(items), self.at_once)
        with self._show(progress), watch(self._spark, progress, self._about, work) as numbered:
            return collect(self._spark, list(enumerate(items)), numbered)

    @contextmanager
    def shared(self, value: T) -> Iterator[Shared[T]]:
        """Share it with all workers."""
        shared = SharedValue(self._spark, value, stays=True)
        try:
            yield shared
        finally:
            shared.destroy()


@dataclass(frozen=True)
class _Own(Generic[T]):
    """A value that needs no sharing."""

    value: T

    def forget(self) -> None:
        """Leave it where it is."""


@dataclass(frozen=True)
class OneTask:
    """All work is done here, one piece after the other."""

    room: Room  # of the driver, which a model has to come to
    at_once: int = 1

    def each(self, items: Sequence[Any], work: Callable[[Any], Any], name: str) -> list[Any]:
        """Do it."""
        return [work(item) for item in items]

    @contextmanager
    def shared(self, value: T) -> Iterator[Shared[T]]:
        """Give it as it is."""
        yield _Own(value)
