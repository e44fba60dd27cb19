"""How many votes a forest spreads evenly, held against scikit-learn's own out-of-bag answers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from bc4all.learning import fitting, smoothing
from bc4all.learning.fitting import fits, side_by_side
from bc4all.learning.folds import Rows, folds
from bc4all.learning.model_size import Room
from bc4all.learning.smoothing import Votes
from bc4all.learning.tasks import OneTask
from bc4all.model.calibration import log_loss
from bc4all.model.forest import CompactForest
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

ROWS, TREES = 400, 30
TASK = OneTask(Room(1 << 30, "this test"))


def products(rows: int = ROWS, categories: int = 8) -> TrainingSet:
    """Categories that overlap."""
    rng = np.random.default_rng(5)
    codes = np.arange(rows, dtype=np.int32) % categories
    X = rng.normal(size=(rows, 3)).round(2) + codes[:, None]
    return make_training_set(X, codes, [f"c{place}" for place in range(categories)])


def fitted(estimator: Any, data: TrainingSet, places: np.ndarray) -> CompactForest:
    with TASK.shared(Rows(data, places, folds(data.codes[places]))) as rows:
        ((forest,),) = side_by_side(TASK, "test", [fits(TASK, "test", rows, [estimator])])
    assert isinstance(forest, CompactForest)
    return forest


@pytest.mark.parametrize("leaf", [1, 4])
@pytest.mark.parametrize("weights", [None, "balanced", {f"c{place}": 1.0 + place for place in range(8)}])
def test_votes_are_those_of_rows_that_were_left_out(leaf: int, weights: Any) -> None:
    """Of each row, the mean of its true category is scikit-learn's `oob_decision_function_`."""
    data, places = products(), np.arange(0, ROWS - 10)
    model = RandomForestClassifier(
        4 * TREES, random_state=3, min_samples_leaf=leaf, oob_score=True, class_weight=weights
    ).fit(data.X[places].astype(np.float32), data.labels(places))
    votes = smoothing.unseen_votes(model, CompactForest.from_sklearn(model), data, places)
    wanted = model.oob_decision_function_[np.arange(len(places)), data.codes[places]]
    np.testing.assert_allclose(votes.of_truth / votes.trees, wanted)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.7, 1.0))
def test_is_where_the_loss_is_least(seed: int, categories: int, right: float) -> None:
    """No more and no less has a clearly smaller log-loss on the rows that it was told by."""
    rng = np.random.default_rng(seed)
    trees = rng.integers(1, 40, 200).astype(float)
    votes = rng.binomial(trees.astype(int), np.where(rng.random(200) < right, 0.9, 0.02)).astype(float)
    found = smoothing.smoothing([Votes(votes, trees)], categories)

    def loss(spread: float) -> float:
        of_truth, all_ = np.append(votes, 0), np.append(trees, trees.mean())
        return float(-np.log((of_truth + spread / categories) / (all_ + spread)).mean())

    assert all(loss(found) <= loss(found * factor) + 1e-4 for factor in (0.5, 0.9, 1.1, 2.0))
    assert found > 0


def test_makes_scores_mean_more() -> None:
    """On rows that the forest has not seen, the log-loss is smaller; the truth is never without a chance."""
    data = products(2000)
    places, others = np.arange(1000), np.arange(1000, 2000)
    forest = fitted(RandomForestClassifier(TREES, random_state=1), data, places)
    plain = RandomForestClassifier(TREES, random_state=1).fit(data.X[places], data.labels(places))
    codes = data.codes[others]
    before, after = (log_loss(model.predict_proba(data.X[others]), codes) for model in (plain, forest))
    assert after < 0.75 * before
    assert forest.predict_proba(data.X[others]).min() > 0.001


def test_is_the_same_however_trees_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task fits all trees, or each a few of them: the forest is the same, bit for bit."""
    data, estimator = products(), RandomForestClassifier(TREES, random_state=2, min_samples_leaf=3)
    whole = fitted(estimator, data, np.arange(ROWS))
    monkeypatch.setattr(fitting, "_CHUNK_BYTES", 1 << 20)  # a few trees
    apart = fitted(estimator, data, np.arange(ROWS))
    assert whole.smoothing == apart.smoothing > 0
    np.testing.assert_array_equal(whole.predict_proba(data.X), apart.predict_proba(data.X))


@pytest.mark.parametrize("estimator", [ExtraTreesClassifier(5), RandomForestClassifier(5, bootstrap=False)])
def test_is_none_where_every_tree_has_seen_every_row(estimator: Any) -> None:
    assert fitted(estimator, products(), np.arange(ROWS)).smoothing == 0.0


def test_trees_that_are_never_wrong_leave_some_doubt() -> None:
    """As if they had been wrong once: more rows leave less of it."""
    few, many = (smoothing.smoothing([Votes(np.full(rows, 9.0), np.full(rows, 9.0))], 5) for rows in (20, 2000))
    assert few > 10 * many > 0
