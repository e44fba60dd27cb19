"""CompactForest beside scikit-learn, which is the oracle for every number here."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import top_k_accuracy_score
from sklearn.model_selection import train_test_split

from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest
from bc4all.model.forest_file import save_forest
from tests.conftest import FEATURES, ROOT

PARAMETERS: list[dict[str, Any]] = [
    {},
    {"max_depth": 1},
    {"min_samples_leaf": 5},
    {"class_weight": "balanced"},
    {"class_weight": "balanced_subsample", "min_samples_leaf": 2},
    {"bootstrap": False, "max_features": None},
    {"min_samples_split": 10_000},  # one-leaf trees
    {"criterion": "entropy", "max_leaf_nodes": 7},
    {"min_impurity_decrease": 0.01, "ccp_alpha": 0.002},
]


def assert_equal_answers(model: Any, X: np.ndarray) -> None:
    """The compact form answers as scikit-learn does: labels exactly, scores to the last bit of float32."""
    forest = CompactForest.from_sklearn(model)
    model.set_params(n_jobs=1)
    expected = model.predict_proba(X)
    best = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    indices, scores = forest.top_k(X, 5)
    np.testing.assert_array_equal(indices, best)
    np.testing.assert_array_equal(scores, np.take_along_axis(expected, best, axis=1).astype(np.float32))
    np.testing.assert_array_equal(forest.predict_proba(X), expected)
    np.testing.assert_array_equal(forest.predict(X), model.predict(X))
    np.testing.assert_array_equal(forest.feature_importances_, model.feature_importances_)
    np.testing.assert_array_equal(forest.classes_, model.classes_)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(2, 120),
    features=st.integers(1, 6),
    categories=st.integers(2, 12),
    kind=st.sampled_from([RandomForestClassifier, ExtraTreesClassifier]),
    params=st.sampled_from(PARAMETERS),
    missing=st.sampled_from([0.0, 0.2]),
    grid=st.booleans(),
    text=st.booleans(),
    weighted=st.booleans(),
)
def test_answers_as_scikit_learn_does(
    seed: int,
    rows: int,
    features: int,
    categories: int,
    kind: type,
    params: dict[str, Any],
    missing: float,
    grid: bool,
    text: bool,
    weighted: bool,
) -> None:
    """Whatever the forest is made of, labels and scores are scikit-learn's: ties, missing values, mixed leaves."""
    rng = np.random.default_rng(seed)
    X, fresh = rng.normal(size=(2, rows, features))
    if grid:  # values that meet thresholds exactly, and rows that tie
        X, fresh = X.round(1), fresh.round(1)
    y = rng.integers(0, categories, rows)
    X[rng.random(X.shape) < missing] = np.nan
    fresh[rng.random(X.shape) < 0.2] = np.nan  # also where training saw none
    labels = np.array([f"c{code:03}" for code in y], dtype=object) if text else y
    weights = rng.random(rows) + 0.1 if weighted else None
    model = kind(n_estimators=int(rng.integers(1, 12)), random_state=seed, **params).fit(X, labels, weights)
    assert_equal_answers(model, np.vstack([X, fresh]))


@pytest.mark.parametrize("categories", [2, 3, 1000, 5000])
def test_takes_few_and_many_categories(categories: int) -> None:
    """From two categories to five thousand; fewer than five give as many ranks."""
    rng = np.random.default_rng(categories)
    y = np.concatenate([np.arange(categories), rng.integers(0, categories, 50)])
    X = rng.normal(size=(len(y), 4))
    model = RandomForestClassifier(5, random_state=0, max_depth=8).fit(X, y)
    assert_equal_answers(model, rng.normal(size=(200, 4)))
    assert CompactForest.from_sklearn(model).top_k(X, 5)[0].shape == (len(y), min(5, categories))


@pytest.mark.parametrize("client", range(10))
def test_equals_scikit_learn_on_real_products(seed: Path, client: int) -> None:
    """Every product of every real client gets the same five categories, in the same order."""
    folder = f"client_id=client_{client}"
    train = pd.read_csv(seed / "train" / folder / "data_train.csv.gz")
    products = pd.read_csv(seed / "prediction" / folder / "data_predict.csv.gz")
    model = RandomForestClassifier(20, random_state=1, n_jobs=2).fit(
        train[list(FEATURES)].to_numpy(), train.category_id
    )
    assert_equal_answers(model, products[list(FEATURES)].to_numpy())


@pytest.mark.slow
def test_is_small(seed: Path, tmp_path: Path) -> None:
    """The forest that weighed 636 MB takes under 20 MB of memory, at most 16 bytes a node, and 12 MB of disk."""
    train = pd.read_csv(seed / "train" / "client_id=client_3" / "data_train.csv.gz")
    model = RandomForestClassifier(100, random_state=1, n_jobs=2).fit(train[list(FEATURES)], train.category_id)
    forest = CompactForest.from_sklearn(model)
    save_forest(forest, tmp_path / "forest.npz")
    assert forest.nbytes < 20e6
    assert forest.nodes.itemsize <= 16
    assert (tmp_path / "forest.npz").stat().st_size < 12e6
    assert list(forest.feature_names_in_) == list(FEATURES)


@pytest.mark.parametrize("categories", [2, 3, 40])
def test_smoothed_it_ranks_as_before(categories: int) -> None:
    """Some votes more for all categories change the scores, as probabilities, and not which categories are best."""
    rng = np.random.default_rng(categories)
    X, y = rng.normal(size=(200, 3)).round(1), rng.integers(0, categories, 200)
    plain = CompactForest.from_sklearn(RandomForestClassifier(7, random_state=1, min_samples_leaf=2).fit(X, y))
    forest = replace(plain, smoothing=2.5)
    best, scores = forest.top_k(X, 5)
    np.testing.assert_array_equal(best, plain.top_k(X, 5)[0])
    probabilities = forest.predict_proba(X)
    np.testing.assert_allclose(probabilities, (7 * plain.predict_proba(X) + 2.5 / len(forest.classes_)) / 9.5)
    np.testing.assert_allclose(scores, np.take_along_axis(probabilities, best, axis=1), rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities.min() > 0.25 / len(forest.classes_)


def test_merging_chunks_gives_the_whole(tmp_path: Path) -> None:
    """Trees fitted apart and merged are the forest that was fitted in one go."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(300, 3)).round(1), rng.integers(0, 6, 300)
    whole = RandomForestClassifier(9, random_state=5, min_samples_leaf=2).fit(X, y)
    parts = []
    for start, stop in ((0, 2), (2, 3), (3, 9)):
        part = RandomForestClassifier(stop, random_state=5, min_samples_leaf=2, warm_start=start > 0)
        if start:
            part.estimators_ = [None] * start
        part.fit(X, y)
        part.estimators_ = part.estimators_[start:]
        parts.append(CompactForest.from_sklearn(part))
    merged, expected = CompactForest.merge(parts), CompactForest.from_sklearn(whole)
    for name in ("nodes", "tree_starts", "mixed_starts", "mixed_categories", "mixed_weights", "importances"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(expected, name))
    other = CompactForest.from_sklearn(RandomForestClassifier(2, random_state=0).fit(X, y + 1))
    with pytest.raises(ModelError, match="cannot be merged"):
        CompactForest.merge([merged, other])


def test_is_a_classifier_to_scikit_learn() -> None:
    """scikit-learn's own tools take it: metrics, scorers, is_classifier."""
    from sklearn.base import is_classifier
    from sklearn.metrics import get_scorer

    rng = np.random.default_rng(0)
    y = rng.integers(0, 7, 600)
    X = rng.normal(size=(600, 3)) + y[:, None] / 3
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model = RandomForestClassifier(20, random_state=0).fit(X_train, y_train)
    forest = CompactForest.from_sklearn(model)
    assert is_classifier(forest)
    for scorer in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        assert get_scorer(scorer)(forest, X_test, y_test) == get_scorer(scorer)(model, X_test, y_test)
    assert top_k_accuracy_score(y_test, forest.predict_proba(X_test), k=2) > 0.3


def test_refuses_rows_that_it_cannot_read() -> None:
    """Rows of another width, infinite values and no rows at all are told apart from an answer."""
    rng = np.random.default_rng(0)
    model = RandomForestClassifier(2, random_state=0).fit(rng.normal(size=(20, 3)), np.arange(20) % 2)
    forest = CompactForest.from_sklearn(model)
    with pytest.raises(ValueError, match=r"shape \(1, 2\) where \(rows, 3\)"):
        forest.predict([[0.0, 1.0]])
    for value in (np.inf, 1e300):
        with pytest.raises(ValueError, match="infinity"):
            forest.top_k([[0.0, 1.0, value]], 5)
    assert forest.top_k(np.empty((0, 3)), 5)[0].shape == (0, 2)


def test_refuses_other_models() -> None:
    """Boosted trees, unfitted forests and forests of several outputs have no compact form."""
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    for model in (
        RandomForestClassifier(),
        GradientBoostingClassifier(n_estimators=2).fit(X, y),
        RandomForestRegressor(2).fit(X, y),
        RandomForestClassifier(2).fit(X, np.column_stack([y, y])),
    ):
        with pytest.raises(ModelError, match="is not a fitted forest of one output"):
            CompactForest.from_sklearn(model)


def test_scores_from_inside_a_zip_with_no_folder_to_write(tmp_path: Path) -> None:
    """Spark ships the code as a zip, to workers whose home may be read-only: the kernel compiles all the same."""
    bundle = tmp_path / "bc4all.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for source in (ROOT / "bc4all").rglob("*.py"):
            archive.write(source, source.relative_to(ROOT))
    program = (
        "import numpy as np, bc4all.model.kernel as kernel\n"
        "assert '.zip' in kernel.__file__\n"
        "indices, scores = np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32)\n"
        "kernel.best_k(np.array([[1.0, 6.0, 3.0]]), 10, 0.0, indices, scores)\n"
        "assert indices.tolist() == [[1, 2]], indices\n"
    )
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "PYTHONPATH": str(bundle), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
