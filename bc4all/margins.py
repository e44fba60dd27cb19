"""Margins -> probabilities, for classifiers that say how far a row is on which side, not how likely a category is.

A softmax orders the categories as the margins do. That its probabilities mean what they say is a calibrator's part:
such a classifier is admitted in blends alone, which may have one.
"""

from typing import Any

import numpy as np
from scipy.special import softmax  # type: ignore[import-untyped]
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone

# About what calibrators find for real titles, so that such a classifier can be compared before it is calibrated.
SHARPNESS = 5.0


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
        self.classes_, self.classifier_ = np.unique(y), None
        if len(self.classes_) < 2:  # as there may be in a fold; most such classifiers refuse that
            return self
        self.classifier_ = clone(self.classifier).fit(X, y)
        found = self.decision_function(X[:1]).shape[1]
        if found != len(self.classes_):
            kind = type(self.classifier).__name__
            raise ValueError(f"{kind} gives {found} margins for {len(self.classes_)} categories")
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The margin of each category, float64 of shape (rows, classes); of two, one is the other's negative."""
        if self.classifier_ is None:
            return np.zeros((X.shape[0], 1))
        margins: np.ndarray = self.classifier_.decision_function(X)
        return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        return np.asarray(softmax(SHARPNESS * self.decision_function(X), axis=1))

    def predict(self, X: Any) -> np.ndarray:
        """The best category of each row."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]
