"""Knowing when not to answer: from which score on the best category is right often enough.

Training writes, with every version, how many of its held-out products would be answered from each score on, and how
many of those rightly. Prediction picks the threshold from which on the share of right answers is at least the precision
that the configuration asks for, with a doubt of one in twenty: of many thresholds, the one that only looks so precise
is the luckiest. NumPy and pandas alone: thresholds are applied inside Python workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

MIN_ANSWERED_ROWS = 30  # held-out products that must be answered for their precision to be believed
NEVER = 1.1  # a threshold above every probability
_DOUBT = 0.05  # of the lower bound of a precision (Clopper and Pearson, 1934); simulated in docs/quality.md
_PRIOR_ROWS = 10  # of all products, that a category's own are taken together with
_POINTS, _CATEGORY_POINTS = 100, 20  # of a curve, at most


@dataclass(frozen=True)
class Thresholds:
    """The score from which a product counts as answered: of its best category, else overall (or NEVER)."""

    overall: float
    categories: Mapping[str, float] = field(default_factory=dict)

    def answered(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return whether products with these best categories and scores (both (products,)) are answered.

        Bool (products,).
        """
        wanted = np.full(len(scores), self.overall)
        if self.categories:
            own = pd.Series(labels).map(self.categories).to_numpy(dtype=np.float64)
            wanted = np.where(np.isnan(own), wanted, own)
        answered: np.ndarray = scores >= wanted.astype(np.float32)
        return answered


def curve(score: np.ndarray, correct: np.ndarray, points: int = _POINTS) -> pd.DataFrame:
    """Threshold -> products answered -> share of them (coverage) -> accuracy among them, the highest threshold first.

    `score` (products,) of the best categories, `correct` (products,) whether they are the true ones. Each threshold is
    a score that was met, so that a row says what truly happened to the products at or above it.
    """
    order = np.argsort(-score, kind="stable")
    sorted_score, right = score[order], np.cumsum(correct[order])
    ends = np.flatnonzero(np.append(np.diff(sorted_score) < 0, True)) if len(score) else np.zeros(0, dtype=int)
    if len(ends) > points:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, points).astype(int))]
    return pd.DataFrame(
        {
            "threshold": sorted_score[ends],
            "answered": ends + 1,
            "coverage": (ends + 1) / max(len(score), 1),
            "accuracy": right[ends] / (ends + 1),
        }
    )


def curves(answers: pd.DataFrame) -> dict[str, Any]:
    """Return the curves of `Evaluation.answers` overall and of each predicted category, as JSON can hold them."""
    by_category = {
        str(name): _listed(curve(part["score"].to_numpy(), part["correct"].to_numpy(), _CATEGORY_POINTS))
        for name, part in answers.groupby("predicted", observed=True)
        if len(part) >= MIN_ANSWERED_ROWS
    }
    overall = curve(answers["score"].to_numpy(), answers["correct"].to_numpy())
    return {"overall": _listed(overall), "categories": by_category}


def _listed(table: pd.DataFrame) -> list[list[float]]:
    # Thresholds to the last bit: a product that scores as much is answered.
    return [[float(value) for value in row] for row in table[["threshold", "answered", "accuracy"]].to_numpy()]


def thresholds(stored: Mapping[str, Any], precision: float, per_category: bool) -> Thresholds:
    """Return the lowest thresholds from which the held-out products tell that at least `precision` are right.

    A category with too few products of its own has the overall one; one that is never so precise is never answered.
    """
    overall = np.array(stored["overall"], dtype=np.float64).reshape(-1, 3)
    bounds = _bounds(overall)
    own: dict[str, float] = {}
    if per_category:
        order = overall[:, 0].argsort()
        for name, points in stored["categories"].items():
            table = np.array(points, dtype=np.float64).reshape(-1, 3)
            others = np.interp(table[:, 0], overall[order, 0], bounds[order])
            own[name] = _lowest(table, _bounds(table, others), precision)
    return Thresholds(_lowest(overall, bounds, precision), own)


def _bounds(points: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Return the lower bound of the precision from each threshold of points (thresholds, 3) on.

    `others` (thresholds,) are those of all products there: a category's own are taken together with some of them, so
    that few are not told by luck alone.
    """
    from scipy.special import betaincinv  # type: ignore[import-untyped]

    _, answered, accuracy = points.T
    right, wrong = accuracy * answered, answered * (1 - accuracy)
    if others is None:
        wrong = wrong + 1  # one more, in doubt
    else:
        right, wrong = right + _PRIOR_ROWS * others, wrong + _PRIOR_ROWS * (1 - others)
    tiny = np.finfo(np.float64).tiny
    return np.asarray(betaincinv(np.maximum(right, tiny), np.maximum(wrong, tiny), _DOUBT))


def _lowest(points: np.ndarray, bounds: np.ndarray, precision: float) -> float:
    sure = points[(points[:, 1] >= MIN_ANSWERED_ROWS) & (bounds >= precision), 0]
    return float(sure.min(initial=NEVER))
