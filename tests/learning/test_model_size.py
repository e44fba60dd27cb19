"""What a model is expected to take, held against fitted ones, and what is refused before it is fitted."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.tree import DecisionTreeClassifier

from bc4all.config.estimators import build_member
from bc4all.config.model_defaults import RANDOM_FOREST, TEXT_MODEL
from bc4all.config.model_settings import MemberSettings
from bc4all.data.failures import as_failure
from bc4all.errors import ModelError
from bc4all.learning import fitting, model_size
from bc4all.learning.folds import Rows, folds
from bc4all.learning.model_size import Room, driver_room, estimated_bytes, refusal
from bc4all.learning.tasks import OneTask, SparkTasks
from bc4all.model.forest import CompactForest
from bc4all.model.margins import MarginClassifier
from bc4all.model.preprocessing import with_preprocessing
from tests.conftest import make_training_set

GB = 10**9


def titles(rows: int) -> pd.DataFrame:
    """Titles of made-up words."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghij019"), 6)) for _ in range(rows)], dtype=object)
    return pd.DataFrame({"title": [" ".join(rng.choice(words, 5)) for _ in range(rows)]})


def test_estimates_are_near_what_is_fitted() -> None:
    """Within a factor of two for trees; above for what counts terms, which repeat in titles."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(3000, 4)), rng.integers(0, 20, 3000)
    restraints: list[dict[str, Any]] = [{}, {"min_samples_leaf": 20}, {"max_depth": 5}, {"max_leaf_nodes": 50}]
    for restraint in restraints:
        forest = RandomForestClassifier(10, random_state=0, **restraint)
        size = CompactForest.from_sklearn(clone(forest).fit(X, y)).nodes.nbytes
        assert size / 2 < estimated_bytes(forest, 3000, 20, X) < 2 * size, restraint
        tree = DecisionTreeClassifier(random_state=0, **restraint)
        size = clone(tree).fit(X, y).tree_.value.nbytes
        assert size / 2 < estimated_bytes(tree, 3000, 20, X) < 2.8 * size, restraint
    frame, labels = titles(300), np.arange(300) % 7
    for classifier, width in (
        (MarginClassifier(RidgeClassifier()), 4),
        (LogisticRegression(), 4),
        (MultinomialNB(), 16),
    ):
        pipeline = with_preprocessing(classifier, {"title": "text"})
        terms = len(clone(pipeline).fit(frame, labels).named_steps["columns"].get_feature_names_out())
        assert terms * 7 * width <= estimated_bytes(pipeline, 300, 7, frame) < 20 * terms * 7 * width


def test_what_trains_today_is_not_refused(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forest of a million products and the titles of a large shop, on a driver of 4 GB and a machine of 8."""
    monkeypatch.setattr(model_size, "heap_bytes", lambda spark: 4 << 30)
    monkeypatch.setattr(model_size, "memory_bytes", lambda: 8 << 30)
    forest = build_member(MemberSettings(classifier=RANDOM_FOREST, params={}), {"f0": "numeric"})
    assert refusal(driver_room(spark), [forest], 1_000_000, 55, np.zeros((1, 5))) == ""
    text = build_member(TEXT_MODEL.blend[0], {"title": "text"})
    assert refusal(driver_room(spark), [text], 2000, 300, titles(2000)) == ""


def test_the_least_room_counts(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how large, how much there is, and of what; a forest over text stays scikit-learn's own."""
    monkeypatch.setattr(model_size, "heap_bytes", lambda spark: GB)
    monkeypatch.setattr(model_size, "memory_bytes", lambda: 100 * GB)
    X = pd.DataFrame({"title": ["x"]})
    dense = with_preprocessing(ExtraTreesClassifier(), {"title": "text"})
    told = refusal(driver_room(spark), [dense], 100_000, 500, X)
    assert told.startswith("a model of about 40.6 GB is more than the 4.0 GB that --driver-memory allows: raise")
    assert "fewer categories, trees or `max_features`, or another `model`" in told
    monkeypatch.setattr(model_size, "memory_bytes", lambda: 2 * GB)
    assert "the 1.0 GB that the driver's memory allows" in refusal(driver_room(spark), [dense], 100_000, 500, X)


def test_what_cannot_fit_is_refused_before_the_fit(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """No task is started; a candidate that is too large is told of, and the others are compared."""
    monkeypatch.setattr(model_size, "memory_bytes", lambda: 2 * 100_000)
    rng = np.random.default_rng(0)
    codes = (np.arange(600) % 6).astype(np.int32)
    data = make_training_set(rng.normal(size=(600, 2)), codes, list("abcdef"))
    context, places = spark.sparkContext, np.arange(600)
    tasks = SparkTasks(spark)
    large, small = (RandomForestClassifier(trees, random_state=0) for trees in (1000, 1))
    context.setJobGroup("refused", "refused")
    try:
        with tasks.shared(Rows(data, places, folds(codes))) as rows:
            with pytest.raises(ModelError, match=r"a model of about 7 MB is more than the 1 MB .*\(x\)"):
                fitting.fits(tasks, "x", rows, [small, large])
            assert list(context.statusTracker().getJobIdsForGroup("refused")) == []
            work = fitting.out_of_fold(tasks, rows, [large, small])
            ((none, answers),) = fitting.side_by_side(tasks, "x", [work])
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
    assert none.error.startswith("a model of about")
    assert answers.error == ""
    assert answers.probabilities.shape == (600, 6)


def test_a_tree_that_cannot_grow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compact form would fit; what scikit-learn needs to grow it does not. A restrained one is taken."""
    monkeypatch.setattr(model_size, "memory_bytes", lambda: 24 * GB)
    room, X = Room(96 * GB, "--driver-memory"), np.zeros((1, 5))
    told = refusal(room, [RandomForestClassifier(10)], 1_000_000, 1000, X)
    assert told.startswith("a tree of about 16.1 GB while it grows is more than half the 24.0 GB of this machine")
    assert not refusal(room, [RandomForestClassifier(10, min_samples_leaf=20)], 1_000_000, 1000, X)
    assert not refusal(room, [RandomForestClassifier(10)], 1_000_000, 100, X)


def test_a_fit_without_memory_is_refused_for_good() -> None:
    """scikit-learn's MemoryError names what to change, and is not retried."""

    class Greedy(LogisticRegression):
        def fit(self, *_: Any) -> None:  # type: ignore[override]
            np.zeros(1 << 50)

    data = make_training_set(np.zeros((4, 1)), np.array([0, 0, 1, 1]), ["a", "b"])
    tasks, rows = OneTask(Room(GB, "x")), Rows(data, np.arange(4), np.zeros(4, np.uint8))
    told = r"not memory enough for it \(Unable to allocate .*fewer categories"
    with tasks.shared(rows) as shared, pytest.raises(ModelError, match=told) as refused:
        fitting.side_by_side(tasks, "greedy", [fitting.fits(tasks, "greedy", shared, [Greedy()])])
    assert refused.value.exit_code == 1
    assert as_failure(MemoryError("Unable to allocate")).exit_code == 1
