"""How much a forest's votes are to be smoothed: decided by those trees that have not seen a row.

Trees that are fully grown give most categories no vote at all, and one of those is the truth more often than never. So
some votes are spread evenly over the categories, as if a few more trees had cast them: the order of the categories
stays, and each has a chance. The rows that a bootstrap left out say how many (Breiman, Out-of-bag estimation, 1996),
without another fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bc4all.model.features import rows_at
from bc4all.model.forest import CompactForest
from bc4all.model.training_set import TrainingSet

_MOST_ROWS = 10_000  # that are asked: it is a single number that they tell
_SEED = 1234
_LEAST, _MOST = 1e-3, 1e4  # votes
_STEPS = 40  # between two numbers of votes: looked at three times, closer each time, they are 0.1 % apart
_DIGITS = 3  # that are kept: the order of adding votes changes the last ones of all


@dataclass(frozen=True)
class Votes:
    """What the trees that have not seen a row give its true category, and how many those are: float64 (rows,) each."""

    of_truth: np.ndarray
    trees: np.ndarray


def unseen_votes(fitted: Any, forest: CompactForest, data: TrainingSet, places: np.ndarray) -> Votes:
    """Return the votes of some of the rows, the same ones for all parts of a forest.

    `fitted` is scikit-learn's, fitted on the rows at `places`, `forest` the same, compact. Without a bootstrap all rows
    were seen, and there are none.
    """
    if not fitted.bootstrap:
        return Votes(np.zeros(0), np.zeros(0))
    asked = np.sort(np.random.default_rng(_SEED).permutation(len(places))[:_MOST_ROWS])
    seen = np.zeros((forest.n_trees, len(asked)), dtype=bool)
    for tree, drawn in enumerate(fitted.estimators_samples_):
        seen[tree] = np.bincount(drawn, minlength=len(places))[asked] > 0
    rows = places[asked]
    truth = np.searchsorted(forest.classes_, data.labels(rows))
    return Votes(*forest.unseen_votes(rows_at(data.X, rows), truth, seen))


def smoothing(parts: Sequence[Votes], categories: int) -> float:
    """Return the votes to be spread with which a forest's log-loss is least, by the votes of its parts; 0 without any.

    One row more counts, whose category has no vote: trees that were never wrong may be.
    """
    of_truth = np.sum([part.of_truth for part in parts], axis=0)
    trees = np.sum([part.trees for part in parts], axis=0)
    met = np.flatnonzero(trees)
    if not len(met):
        return 0.0
    votes, trees = np.append(of_truth[met], 0.0), np.append(trees[met], trees[met].mean())

    low, high = _LEAST, _MOST
    for _ in range(3):
        tried = np.geomspace(low, high, _STEPS)
        losses = [-np.log((votes + spread / categories) / (trees + spread)).mean() for spread in tried]
        best = int(np.argmin(losses))
        low, high = tried[max(best - 1, 0)], tried[min(best + 1, _STEPS - 1)]
    return float(f"{tried[best]:.{_DIGITS}g}")
