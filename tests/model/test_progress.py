"""How far a long fit says that it is, from inside."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import RidgeClassifier

from bc4all.model.gradients import by_gradients
from bc4all.model.progress import listening, part, report
from bc4all.model.ridge import fit_ridge


def heard(work: Callable[[], object]) -> list[float]:
    """What shares are reported of a fit."""
    shares: list[float] = []
    with listening(shares.append):
        work()
    return shares


def test_parts_of_parts_are_shares_of_the_whole() -> None:
    """And without a listener a report is lost."""

    def work() -> None:
        for start in (0.0, 0.5):
            with part(start, start + 0.5):
                report(0.5)
                with part(0.5, 1.0):
                    report(1.0)

    assert heard(work) == [0.25, 0.5, 0.75, 1.0]
    work()


def titles(rows: int, categories: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Sparse rows; some columns are their category's own."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, categories, rows)
    places = np.column_stack([y, categories + rng.integers(0, 3000, (rows, 20))])
    X = sparse.csr_matrix((np.full(places.size, 0.2), places.ravel(), np.arange(0, places.size + 1, 21)))
    return X, y


def test_passes_over_rows_say_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten blocks of categories: from nearly nothing to nearly all, hardly ever back, and the same coefficients."""
    monkeypatch.setattr("bc4all.model.ridge._MOST_TOGETHER", 10)
    X, y = titles(3000, 100)
    silent = fit_ridge(RidgeClassifier(alpha=1, tol=0.01), X, y).coef_
    models: list[RidgeClassifier] = []
    shares = heard(lambda: models.append(fit_ridge(RidgeClassifier(alpha=1, tol=0.01), X, y)))
    assert (min(shares) < 0.1, max(shares) > 0.95) == (True, True)
    assert all(0 <= share <= 1 for share in shares)
    assert min(np.diff(shares)) > -0.05
    np.testing.assert_array_equal(models[0].coef_, silent)


def test_steps_of_gradients_say_how_far_they_are() -> None:
    """Two blocks of margins, evenly on the whole; to any tolerance, that of nothing, too."""
    X, y = titles(3000, 40)
    targets = np.where(y[:, None] == np.arange(40), 1.0, -1.0)
    for tolerance in (1e-3, 0.0):
        shares = heard(lambda: by_gradients(X, targets, np.ones(3000), True, tolerance, 60))  # noqa: B023
        assert len(shares) > 5
        assert all(0 <= share <= 1 + 1e-9 for share in shares), shares
        assert min(np.diff(shares)) > -0.05
