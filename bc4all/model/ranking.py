"""Probabilities -> the best categories of each product, and the schema of the output that holds them.

The order is the same everywhere: by falling probability, equal ones by the category's place in `classes_`.
"""

from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from bc4all.kinds import Features
from bc4all.model.abstention import Thresholds
from bc4all.model.features import Matrix, model_input

TOP = 5  # categories of a product; fewer where the client has fewer
ANSWERED = "answered"  # a further column of the output, where some products are not
_ROWS, _CELLS = 10_000, 1 << 23  # at a time, and their probabilities: 64 MB, and some more in the model
SCORED_SCHEMA = "product_id string, pred_label string, pred_score float, rank int, model_version int"


class Model(Protocol):
    """A fitted classifier as scikit-learn knows it; a model may bring its own faster `top_k`."""

    @property
    def classes_(self) -> np.ndarray: ...

    def predict_proba(self, X: Matrix) -> np.ndarray: ...


def top_k(model: Model, X: Matrix, k: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in `classes_` of each row's k best categories and their probabilities.

    Both of shape (rows, min(k, classes)), best first; the probabilities as float32.
    """
    own = getattr(model, "top_k", None)
    if own is not None:
        return cast(tuple[np.ndarray, np.ndarray], own(X, k))
    ranked = [rank(probabilities, k) for _, probabilities in in_blocks(model, X)]
    best, scores = zip(*ranked, strict=True)
    return np.concatenate(best), np.concatenate(scores)


def in_blocks(model: Model, X: Matrix) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of X and their probabilities, float (rows, classes), in blocks that fit into memory; one at least."""
    step = max(1, min(_ROWS, _CELLS // len(model.classes_)))
    for start in range(0, max(len(X), 1), step):
        block = slice(start, start + step)
        yield block, model.predict_proba(X[block])


def rank(probabilities: np.ndarray, k: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """As `top_k`, from probabilities (rows, classes)."""
    from bc4all.model.kernel import best_k  # numba: what only names columns does without

    rows, classes = probabilities.shape
    best, scores = np.zeros((rows, min(k, classes)), dtype=np.int32), np.empty((rows, min(k, classes)), np.float32)
    best_k(np.ascontiguousarray(probabilities, dtype=np.float64), 1, 0.0, best, scores)
    return best, scores


def score_frame(
    model: Model, frame: pd.DataFrame, features: Features, version: int, limits: Thresholds | None = None
) -> pd.DataFrame:
    """Return the best categories of each product of `frame` (product_id and features), a row a product and rank.

    With `limits`, a column `answered` says whether the product's best score reaches them. Texts are Arrow's: as Python
    objects, five times as many as products, they took longer than the model.
    """
    best, scores = top_k(model, model_input(frame, features))
    rows, ranks = best.shape
    labels = np.asarray(model.classes_, dtype=object)
    scored = pd.DataFrame(
        {
            "product_id": _texts(frame["product_id"].array, np.repeat(np.arange(rows), ranks)),
            "pred_label": _texts(labels, best.ravel()),
            "pred_score": scores.ravel(),
            "rank": np.tile(np.arange(ranks, dtype=np.int32), rows),
            "model_version": np.full(rows * ranks, version, dtype=np.int32),
        }
    )
    if limits is not None:
        scored[ANSWERED] = np.repeat(limits.answered(labels[best[:, 0]], scores[:, 0]), ranks)
    return scored


def _texts(values: Any, places: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """Return the values at some places as a column of text that Arrow holds."""
    return pd.arrays.ArrowExtensionArray(pa.array(values, pa.string()).take(pa.array(places)))
