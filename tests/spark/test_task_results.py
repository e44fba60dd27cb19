"""Answers of tasks that are small, large, wrong; the heap is made out to be small, so that little is large."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import RDD
from pyspark.sql import SparkSession

from bc4all.errors import ModelError, TransientFailure
from bc4all.learning import fitting, shared_value, task_results
from bc4all.learning.shared_value import SharedValue
from bc4all.learning.task_results import collect
from bc4all.learning.tasks import SparkTasks

SMALL_HEAP = 1 << 20  # bytes: pieces of 16 KiB, two a round
SIZES = (0, 10, 200, 5000, 40_000)


@pytest.fixture
def small_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose heap is said to be small."""
    for module in (task_results, shared_value):
        monkeypatch.setattr(module, "heap_bytes", lambda spark: SMALL_HEAP)


def numbers(size: int) -> np.ndarray:
    """An answer of so many float64."""
    return np.random.default_rng(size).random(size)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many large answers each call of `collect` had to fetch."""
    counts: list[int] = []
    fetch = task_results._fetch

    def counting(spark: SparkSession, kept: Any, large: dict[int, Any], pieces: int) -> Any:
        counts.append(len(large))
        return fetch(spark, kept, large, pieces)

    monkeypatch.setattr(task_results, "_fetch", counting)
    return counts


def kept_by_spark(spark: SparkSession) -> set[int]:
    """The datasets that the session keeps, this test's and those of tests before it."""
    return set(spark.sparkContext._jsc.getPersistentRDDs())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("small_heap")
def test_large_and_small_answers_come_back_in_order(spark: SparkSession, rounds: list[int]) -> None:
    """Small ones with the first job, large ones piece by piece; Spark keeps nothing of either."""
    before = kept_by_spark(spark)
    for found, size in zip(collect(spark, SIZES, numbers), SIZES, strict=True):
        np.testing.assert_array_equal(found, numbers(size))
    assert rounds == [2]
    assert kept_by_spark(spark) <= before


def test_one_job_is_enough_for_small_answers(spark: SparkSession, rounds: list[int]) -> None:
    """As nearly all clients' are: with the heap as it is, nothing is fetched; and of no items there is no answer."""
    assert collect(spark, ["a", "b", "c"], str.upper) == ["A", "B", "C"]
    assert collect(spark, [], str.upper) == []
    assert rounds == []


@pytest.mark.usefixtures("small_heap")
def test_an_answer_that_was_computed_again_and_is_another_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an executor is lost between the receipt and the pieces, and the model has no `random_state`."""
    fetch: Callable[..., Any] = task_results._fetch

    def losing(spark: SparkSession, kept: "RDD[bytes]", large: Any, pieces: int) -> Any:
        kept.unpersist(blocking=True)
        return fetch(spark, kept, large, pieces)

    monkeypatch.setattr(task_results, "_fetch", losing)
    np.testing.assert_array_equal(collect(spark, [40_000], numbers)[0], numbers(40_000))
    with pytest.raises(TransientFailure, match="came back otherwise than its task had sent it"):
        collect(spark, [40_000], lambda size: np.random.default_rng().random(size))


@pytest.mark.usefixtures("small_heap")
def test_an_answer_that_was_computed_again_harms_no_other(spark: SparkSession, tmp_path: Path) -> None:
    """Though it comes in fewer pieces, and others come behind it."""

    def work(number: int, _: object) -> np.ndarray:
        again = tmp_path / str(number)
        size = 100 if number == 0 and again.exists() else 1_500
        again.touch()
        return numbers(size)

    answers = task_results.Answers(spark, spark.sparkContext.parallelize(range(3), 3), 3, work)
    try:
        answers._kept.unpersist(blocking=True)
        fetched = answers.fetch(range(3))
        for number in (1, 2):
            np.testing.assert_array_equal(answers.opened(number, fetched), numbers(1_500))
        with pytest.raises(TransientFailure, match="came back otherwise than its task had sent it"):
            answers.opened(0, fetched)
    finally:
        answers.release()


@pytest.mark.usefixtures("small_heap")
def test_what_scikit_learn_refuses_is_told(spark: SparkSession) -> None:
    """Beside large answers, too."""

    def work(size: int) -> np.ndarray:
        if size == 10:
            raise ValueError("ten is too few\nby far")
        return numbers(size)

    with pytest.raises(ModelError, match=r"ten is too few \(a tree, change its data"):
        fitting.run(SparkTasks(spark), "a tree", SIZES, work)


@pytest.mark.usefixtures("small_heap")
def test_a_shared_value_is_put_together_once_a_worker(spark: SparkSession) -> None:
    """Of many pieces or one, every task reads the same object."""
    for size in (10, 100_000):
        shared = SharedValue(spark, numbers(size))
        assert bool(shared._others) == (size > 10)
        try:
            answers = collect(spark, range(4), lambda _, s=shared: (s.value is s.value, float(s.value.sum())))
        finally:
            shared.destroy()
        assert answers == [(True, float(numbers(size).sum()))] * 4
