"""Ridge regression of all categories at once is scikit-learn's, whatever the rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier

from bc4all.model import gradients, ridge
from bc4all.model.margins import MarginClassifier


def data(rows: int, columns: int, categories: int, seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Sparse rows, some of them empty, some of them equal, and their categories, some of them rare."""
    rng = np.random.default_rng(seed)
    dense = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.3)
    dense[rows // 2], dense[rows - 1] = dense[0], 0
    X = sparse.csr_matrix(dense)
    y = np.minimum(rng.geometric(0.4, rows) - 1, categories - 1)
    y[:categories] = np.arange(categories)
    return X, np.array([f"c{code}" for code in y])


@pytest.mark.parametrize("way", ["passes", "gradients", "factorised"])
@given(
    shape=st.tuples(st.integers(12, 60), st.integers(3, 80), st.integers(2, 9)),
    seed=st.integers(0, 10_000),
    alpha=st.sampled_from([0.01, 0.2, 5.0]),
    class_weight=st.sampled_from([None, "balanced", {"c0": 3.0, "c1": 0.2}, {"c1": 0.0}]),
    fit_intercept=st.booleans(),
    together=st.sampled_from([1, 4, 32]),
)
@settings(max_examples=40, deadline=None)
def test_it_is_scikit_learns(
    way: str,
    shape: tuple[int, int, int],
    seed: int,
    alpha: float,
    class_weight: object,
    fit_intercept: bool,
    together: int,
) -> None:
    """Coefficients, intercepts and answers, with any weights, more rows than columns or fewer."""
    X, y = data(*shape, seed)
    chosen = {"alpha": alpha, "class_weight": class_weight, "fit_intercept": fit_intercept}
    classifier = RidgeClassifier(**chosen, tol=1e-9)
    assert ridge.is_solved_here(classifier, X)
    theirs = clone(classifier).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge, "_MOST_FACTORISED", 10_000 if way == "factorised" else 0)
        patch.setattr(ridge, "_FIRST_PASSES", 1 if way == "gradients" else 10**6)
        patch.setattr(ridge, "_MOST_PASSES", 0)
        patch.setattr(gradients, "_WIDE", together)
        patch.setattr(gradients, "_AT_ONCE", together)
        patch.setattr(ridge, "_BLOCK", 7)
        patch.setattr(ridge, "_MOST_TOGETHER", together)
        ours = ridge.fit_ridge(clone(classifier), X, y)
    assert list(ours.classes_) == list(theirs.classes_)
    assert ours.coef_.shape == theirs.coef_.shape
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    margins = theirs.decision_function(X)
    np.testing.assert_allclose(ours.decision_function(X), margins, atol=1e-6)
    best = np.sort(margins, axis=1)[:, -2:] if margins.ndim == 2 else np.stack([-margins, margins], axis=1)
    clear = abs(best[:, 1] - best[:, 0]) > 1e-5  # else rounding decides
    assert not clear.any() or list(ours.predict(X[clear])) == list(theirs.predict(X[clear]))


@pytest.mark.parametrize("class_weight", [None, "balanced", {"c1": 0.3}])
@pytest.mark.parametrize("categories", [2, 9])
def test_few_passes_do_for_a_text(monkeypatch: pytest.MonkeyPatch, categories: int, class_weight: object) -> None:
    """Of columns as unlike as its terms, and categories of unlike sizes: what is left shrinks as it should."""
    X, y = data(400, 600, categories, 3)
    X = sparse.csr_matrix(X @ sparse.diags(1 / np.arange(1, 601) ** 0.7))
    exact = ridge.fit_ridge(RidgeClassifier(alpha=0.2, class_weight=class_weight), X, y)
    monkeypatch.setattr(ridge, "_MOST_FACTORISED", 0)
    monkeypatch.setattr(ridge, "_MOST_TOGETHER", 4)
    monkeypatch.setattr(ridge, "_MOST_PASSES", 10**6)  # never by gradients
    passes = []
    for tolerance in (0.1, 0.01, 0.001):
        found = ridge.fit_ridge(RidgeClassifier(alpha=0.2, class_weight=class_weight, tol=tolerance), X, y)
        passes.append(found.n_iter_.max())
        assert found.coef_.dtype == np.float32
        apart = found.decision_function(X) - exact.decision_function(X)
        assert np.sqrt((apart**2).mean()) < 2 * tolerance
    assert passes[0] < passes[1] < passes[2]
    assert passes[0] <= 20


def test_where_passes_are_many_it_goes_by_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside numbers, which are in every row and much larger than a text's terms: both come to the same."""
    X, y = data(400, 600, 9, 3)
    X = sparse.csr_matrix(sparse.hstack([X, 3 * np.random.default_rng(0).normal(size=(400, 4)).cumsum(axis=1)]))
    classifier = RidgeClassifier(alpha=0.01, class_weight="balanced", tol=1e-4)
    exact = ridge.fit_ridge(clone(classifier), X, y)
    monkeypatch.setattr(ridge, "_MOST_FACTORISED", 0)
    went, by_gradients = [], ridge.by_gradients

    def noted(*given: Any) -> Any:
        went.append(given)
        return by_gradients(*given)

    monkeypatch.setattr(ridge, "by_gradients", noted)
    found = ridge.fit_ridge(clone(classifier), X, y)
    assert len(went) == 1
    np.testing.assert_allclose(found.decision_function(X), exact.decision_function(X), atol=0.01)


def test_fewer_steps_do_where_the_largest_eigenvalues_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of columns as unlike as a text's terms, and categories of unlike sizes, which weigh alike."""
    X, y = data(400, 600, 9, 3)
    X = sparse.csr_matrix(X @ sparse.diags(1 / np.arange(1, 601) ** 0.7))
    targets = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    given = X, targets, 100.0 * np.ones(400), True, 1e-6, None
    with_them, _, few = gradients.by_gradients(*given)
    monkeypatch.setattr(gradients, "_EIGENVALUES", (0, 0))
    without, _, many = gradients.by_gradients(*given)
    np.testing.assert_allclose(with_them, without, atol=1e-3)
    assert few.max() < many.max() / 2


def test_what_was_asked_for_otherwise_is_scikit_learns_own() -> None:
    """Another solver, other bounds, no penalty, dense rows, another class."""
    X, _ = data(20, 5, 3, 1)
    for params in ({"solver": "lsqr"}, {"positive": True}, {"alpha": 0}):
        assert not ridge.is_solved_here(RidgeClassifier(**params), X)
    assert not ridge.is_solved_here(RidgeClassifier(), X.toarray())


def test_margins_are_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MarginClassifier over sparse rows goes by it."""
    X, y = data(40, 20, 4, 2)
    theirs = MarginClassifier(RidgeClassifier(tol=1e-10)).fit(X.toarray(), y)
    monkeypatch.setattr(RidgeClassifier, "fit", None)
    ours = MarginClassifier(RidgeClassifier()).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
