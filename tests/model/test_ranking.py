"""The best categories of each row, from dense probabilities."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bc4all.identity import ClientId
from bc4all.learning.figures import evaluation_files
from bc4all.model import ranking
from bc4all.model.evaluation import evaluate
from bc4all.model.ranking import rank, top_k

CATEGORIES, ROWS = 5_000, 10_000  # of 50 million probabilities, 400 MB


class Spread:
    """A model of many categories: a product x is most probably of category x, then of the one after, and so on."""

    classes_ = np.array([f"c{place:04}" for place in range(CATEGORIES)], dtype=object)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        found = np.full((len(X), CATEGORIES), 0.1 / CATEGORIES)
        for behind in range(5):
            found[np.arange(len(X)), (X[:, 0].astype(int) + behind) % CATEGORIES] = 0.5 / 2**behind
        return found


@given(
    arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0.1, 0.25, 0.5])),
    st.integers(1, 9),
    st.booleans(),
)
def test_equal_ones_are_ranked_by_their_place(probabilities: np.ndarray, k: int, turned: bool) -> None:
    """As a stable sort has it, however the numbers lie in memory."""
    given = np.asfortranarray(probabilities) if turned else probabilities
    best, scores = rank(given, k)
    wanted = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    assert best.tolist() == wanted.tolist()
    assert scores.tolist() == np.take_along_axis(probabilities, wanted, axis=1).astype(np.float32).tolist()


@pytest.mark.parametrize(("bound", "most"), [("_CELLS", 12), ("_ROWS", 4)])
@pytest.mark.parametrize("as_frame", [False, True])
def test_blocks_are_put_together(monkeypatch: pytest.MonkeyPatch, as_frame: bool, bound: str, most: int) -> None:
    """A model is asked about so many rows at a time, and so many probabilities."""

    class Given:
        classes_ = np.arange(3)

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            assert len(X) <= 4
            return np.asarray(X)

    X = np.random.default_rng(0).dirichlet(np.ones(3), 10)
    whole = rank(X, 2)
    monkeypatch.setattr(ranking, bound, most)
    for found, wanted in zip(top_k(Given(), pd.DataFrame(X) if as_frame else X, 2), whole, strict=True):
        assert np.array_equal(found, wanted)


def test_thousands_of_categories_take_little_memory() -> None:
    """Neither all rows' probabilities nor categories by categories are held at once."""
    X = np.arange(ROWS)[:, None] % CATEGORIES
    labels = Spread.classes_[X[:, 0]]
    top_k(Spread(), X[:1])  # compiled
    tracemalloc.start()
    try:
        evaluation = evaluate(Spread(), X, labels)
        files = evaluation_files(ClientId("shop"), {"training": evaluation})
        top_k(Spread(), X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert evaluation.metrics["accuracy"] == 1.0
    assert evaluation.confusion.diagonal().tolist() == [ROWS / CATEGORIES] * CATEGORIES
    assert b"smaller categories not shown" in files["confusion_training.svg"]
    assert peak < 250e6
