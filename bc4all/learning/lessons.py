"""Many clients' trainings as one Spark job: each client's, from its packs to what is kept of it, is a task."""

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from bc4all.learning.collection import training_set
from bc4all.learning.model_size import Room, driver_room
from bc4all.learning.shared_value import Shared, SharedValue
from bc4all.learning.task_results import Answers
from bc4all.learning.tasks import OneTask
from bc4all.learning.training import Learned, Lesson, Opponent, learn


@dataclass(frozen=True)
class _Training:
    """What a task does, by its place among all: a client's training, or what was raised in it."""

    given: Sequence[Shared[tuple[Lesson, Opponent]]]
    room: Room

    def __call__(self, place: int, packs: Iterable[Any]) -> Learned | Exception:
        lesson, opponent = self.given[place].value
        self.given[place].forget()  # the next task is another client's
        warnings: list[str] = []
        try:
            data = training_set((pack["rows"] for pack in packs), lesson.features, lesson.new_names, warnings.append)
            learned = learn(OneTask(self.room), lesson, data, opponent)
        except Exception as error:  # noqa: BLE001 - it is this client's, and the driver tells it
            error.add_note(traceback.format_exc())
            return error
        return replace(learned, warnings=tuple(warnings))


Given = SharedValue[tuple[Lesson, Opponent]]


@contextmanager
def learned_together(packs: DataFrame, given: Mapping[int, Given]) -> Iterator[Answers]:
    """Train the clients of `packs` (`client int, rows binary`), and give the answers, in the order of `given`.

    Each answer is what is Learned of a client, or the exception that was raised in its training.
    """
    spark = packs.sparkSession
    place = sf.array_position(sf.array(*map(sf.lit, given)), sf.col("client")) - 1
    apart = packs.withColumn("place", place.cast("int")).repartitionById(len(given), "place").select("rows")
    answers = Answers(spark, apart.rdd, len(given), _Training(list(given.values()), driver_room(spark)))
    try:
        yield answers
    finally:
        answers.release()
