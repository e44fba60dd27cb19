"""Classifiers that give margins alone, asked for probabilities."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge, RidgeClassifier, SGDClassifier
from sklearn.svm import SVC, LinearSVC

from bc4all.config.estimators import build_estimator, build_member, estimator_faults, listed
from bc4all.config.model_settings import MemberSettings
from bc4all.model.margins import MarginClassifier, is_by_margins
from bc4all.model.model_file import digest, load_model, save_model

X = np.random.default_rng(0).normal(size=(90, 4))
Y = np.array(["a", "b", "c"], dtype=object)[np.arange(90) % 3]
ADMITTED = sorted(
    path for path in listed("classifier") if estimator_faults(path, {}) and not estimator_faults(path, {}, margins=True)
)

BY_VOTES = ("sklearn.svm.SVC", "sklearn.svm.NuSVC")  # of pairs of categories, ties in which they break as they come


def test_those_without_probabilities_are_told_apart() -> None:
    """Alone they are refused, with what to do; in a blend they are not."""
    assert {"sklearn.svm.LinearSVC", "sklearn.linear_model.RidgeClassifier"} < set(ADMITTED)
    ((_, told),) = estimator_faults("sklearn.svm.LinearSVC", {})
    assert told.endswith("gives no probabilities (predict_proba) with these parameters; a blend takes its margins")


@pytest.mark.parametrize("path", ADMITTED)
@pytest.mark.parametrize("categories", [2, 3])
def test_comes_back_as_it_was(tmp_path: Path, path: str, categories: int) -> None:
    """Each can be stored and read; the best category is the classifier's own, and probabilities are."""
    rows = np.flatnonzero(np.arange(90) % 3 < categories)
    params = {"break_ties": True} if path in BY_VOTES else {}
    model = build_member(MemberSettings(classifier=path, params=params), {"f": "numeric"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one is deprecated, and not every optimiser converges on 90 made-up rows
        model.fit(X[rows], Y[rows])
    file = save_model(model, tmp_path)
    loaded = load_model(file, digest(file))
    answers = loaded.predict_proba(X)
    np.testing.assert_array_equal(answers, model.predict_proba(X))
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    np.testing.assert_array_equal(loaded.classes_[answers.argmax(axis=1)], model.classifier_.predict(X))
    np.testing.assert_array_equal(model.predict(X), model.classifier_.predict(X))


def test_two_categories_are_as_far_apart_as_of_three() -> None:
    """The margin of two stands for both, each on its side."""
    classifier = build_estimator("sklearn.svm.LinearSVC", {"random_state": 0}, margins=True)
    model = MarginClassifier(classifier).fit(X[:60], Y[:60] == "a")
    margins = model.classifier_.decision_function(X)
    np.testing.assert_allclose(np.log(model.predict_proba(X)) @ [-1, 1], 2 * model.sharpness_ * margins)


def test_one_category_is_certain() -> None:
    """A fold may have no more: LinearSVC itself would refuse it."""
    model = MarginClassifier(LinearSVC()).fit(X[:3], np.array(["a"] * 3))
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((90, 1)))
    assert set(model.predict(X)) == {"a"}


def test_large_margins_keep_their_order() -> None:
    """Features of any size: hardly a probability is so small that calibrators clip it (1e-12); the best five stay."""
    rng = np.random.default_rng(4)
    rows, names = 300 * rng.normal(size=(300, 4)), np.arange(300) % 8
    model = MarginClassifier(SGDClassifier(random_state=0)).fit(rows, names)
    answers, margins = model.predict_proba(rows), model.decision_function(rows)
    assert np.abs(margins).max() > 1000
    np.testing.assert_array_equal(np.argsort(-answers)[:, :5], np.argsort(-margins)[:, :5])
    assert (answers > 1e-12).mean() > 0.99


def test_is_found_behind_transformers() -> None:
    """Alone, and at the end of a Pipeline of either kind."""
    ridge = MemberSettings(classifier="sklearn.linear_model.RidgeClassifier")
    scaled = ridge.model_copy(update={"transform": (("sklearn.preprocessing.StandardScaler", {}),)})
    assert all(map(is_by_margins, (build_member(ridge, {"f": "text"}), build_member(scaled, {"f": "numeric"}))))
    assert is_by_margins(build_member(ridge, {"f": "numeric"}))
    bayes = MemberSettings(classifier="sklearn.naive_bayes.MultinomialNB")
    assert not any(is_by_margins(build_member(bayes, {"f": kind})) for kind in ("text", "numeric"))


PATHS = np.array(["A > x", "A > y", "B > z", "B > w", "B > z > v", "C"], dtype=object)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_a_path_is_learned_of_with_its_parents(sparse: bool) -> None:
    """What a regression of their own finds for the parents, of targets 0 and 1, is added by half: level by level."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, len(PATHS), 300)
    rows = rng.normal(size=(300, 7)) + codes[:, None] * [1, 0, 0, 0.5, 0, 0, 0]
    given = csr_matrix(rows) if sparse else rows
    ridge = RidgeClassifier(alpha=0.5, tol=1e-10)
    plain = MarginClassifier(ridge).fit(given, PATHS[codes])
    model = MarginClassifier(ridge, ">").fit(given, PATHS[codes])
    expected = plain.decision_function(rows)
    for level in (1, 2):
        above = [" > ".join(path.split(" > ")[:level]) for path in PATHS]
        for parent in set(above):
            below = np.array([name == parent for name in above])
            target = Ridge(alpha=0.5).fit(rows, below[codes].astype(float)).predict(rows)
            expected[:, np.searchsorted(plain.classes_, PATHS[below])] += 0.5 * target[:, None]
    np.testing.assert_allclose(model.decision_function(rows), expected, atol=1e-6)
    assert model.predict_proba(rows).sum(axis=1) == pytest.approx(1)


def test_a_separator_changes_nothing_else() -> None:
    """Categories that are no paths, two of them, and classifiers that are no least squares."""
    separated = MarginClassifier(RidgeClassifier(), ">").fit(X, Y)
    np.testing.assert_array_equal(
        separated.predict_proba(X), MarginClassifier(RidgeClassifier()).fit(X, Y).predict_proba(X)
    )
    for classifier in (LinearSVC(random_state=0), RidgeClassifier()):
        rows = np.flatnonzero(Y != "c") if isinstance(classifier, RidgeClassifier) else np.arange(90)
        names = np.char.add("a > ", Y[rows].astype(str)).astype(object)
        with_one, without = (MarginClassifier(classifier, one).fit(X[rows], names) for one in (">", None))
        np.testing.assert_array_equal(with_one.decision_function(X), without.decision_function(X))


def test_margins_that_are_not_the_categories_are_refused() -> None:
    """Of every pair of categories there may be one: that is no answer."""
    rows = np.arange(80)
    with pytest.raises(ValueError, match="SVC gives 6 margins for 4 categories"):
        MarginClassifier(SVC(decision_function_shape="ovo")).fit(X[rows], np.arange(80) % 4)
