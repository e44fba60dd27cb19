"""Margins -> probabilities, for classifiers that say how far a row is on which side, not how likely a category is.

A softmax orders the categories as the margins do. That its probabilities mean what they say is a calibrator's part:
such a classifier is admitted in blends alone, which may have one.
"""

from typing import Any

import numpy as np
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone

from bc4all.model.ridge import fit_ridge, is_solved_here
from bc4all.model.taxonomy import parents

_CELLS = 1 << 23  # of margins at a time, rows x categories: 64 MB
_COLUMNS = 4096  # of coefficients that are changed at a time
_OF_PARENTS = 0.5  # of a parent's target, 0 or 1, that its categories' margins get, for each level: docs/quality.md
_SHARPNESS = 5.0  # of margins of the size 1: about what calibrators find for real titles


def is_by_margins(estimator: Any) -> bool:
    """Return whether it, or what a Pipeline ends in, is a MarginClassifier."""
    return isinstance(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator, MarginClassifier)


class MarginClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier that has `decision_function`, with `predict_proba`.

    `separator`: between the parts of categories that are paths, where least squares then learn of parents, too.
    """

    def __init__(self, classifier: Any, separator: str | None = None) -> None:
        self.classifier, self.separator = classifier, separator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.classifier.__sklearn_tags__().input_tags.sparse
        return tags

    def fit(self, X: Any, y: np.ndarray) -> "MarginClassifier":
        """Fit a clone of the classifier. Raises ValueError where it gives another number of margins than categories."""
        self.classes_, self.classifier_, self.sharpness_ = np.unique(y), None, _SHARPNESS
        if len(self.classes_) < 2:  # as there may be in a fold; most such classifiers refuse that
            return self
        unfitted = clone(self.classifier)
        self.classifier_ = fit_ridge(unfitted, X, y) if is_solved_here(unfitted, X) else unfitted.fit(X, y)
        if self.separator is not None and len(self.classes_) > 2:
            _add_parents(self.classifier_, self.classes_, self.separator)
        squares, step = 0.0, max(1, _CELLS // len(self.classes_))
        for start in range(0, X.shape[0], step):
            margins = self.decision_function(X[start : start + step])
            if margins.shape[1] != len(self.classes_):
                kind = type(self.classifier).__name__
                raise ValueError(f"{kind} gives {margins.shape[1]} margins for {len(self.classes_)} categories")
            squares += float((margins**2).sum())
        # Some classifiers' margins are as large as their features; a softmax of thousands tells nothing but the best.
        self.sharpness_ /= float(np.sqrt(squares / X.shape[0] / len(self.classes_))) or 1.0
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the margin of each category, float64 of shape (rows, classes); of two, one is the other's negative."""
        if self.classifier_ is None:
            return np.zeros((X.shape[0], 1))
        margins: np.ndarray = self.classifier_.decision_function(X)
        return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        return np.asarray(softmax(self.sharpness_ * self.decision_function(X), axis=1))

    def predict(self, X: Any) -> np.ndarray:
        """Return the best category of each row."""
        return np.asarray(self.classes_[self.decision_function(X).argmax(axis=1)])


def _add_parents(ridge: Any, classes: np.ndarray, separator: str) -> None:
    """Let each category's margin be higher where those of its parents' other categories are; of least squares alone.

    Least squares are linear in their targets: what they would find for a parent is the sum of what they have found for
    its categories, so that nothing is fitted for it, and the model stays as large as it is.
    """
    from sklearn.linear_model import RidgeClassifier

    if not isinstance(ridge, RidgeClassifier):
        return
    below = parents([str(name) for name in classes], separator)
    of_margin = _OF_PARENTS / 2  # targets are half of margins, and a half
    for start in range(0, ridge.coef_.shape[1], _COLUMNS):
        some = ridge.coef_[:, start : start + _COLUMNS]
        some += of_margin * (below @ (below.T @ some))
    ridge.intercept_ = ridge.intercept_ + of_margin * (below @ (below.T @ (ridge.intercept_ + np.ones(len(classes)))))
