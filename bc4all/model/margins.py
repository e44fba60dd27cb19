"""Margins -> probabilities, for classifiers that say how far a row is on which side, not how likely a category is.

A softmax orders the categories as the margins do. That its probabilities mean what they say is a calibrator's part:
such a classifier is admitted in blends alone, which may have one.
"""

from typing import Any

import numpy as np
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone

from bc4all.model.ridge import fit_ridge, is_solved_here

_CELLS = 1 << 23  # of margins at a time, rows x categories: 64 MB
_SHARPNESS = 5.0  # of margins of the size 1: about what calibrators find for real titles


def is_by_margins(estimator: Any) -> bool:
    """Return whether it, or what a Pipeline ends in, is a MarginClassifier."""
    return isinstance(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator, MarginClassifier)


class MarginClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier that has `decision_function`, with `predict_proba`."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

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
