"""Probabilities that mean what they say: scikit-learn's calibrators, over what a model answered for unseen rows."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from bc4all.kinds import CALIBRATIONS, Calibration

_TINY = float(np.finfo(np.float64).eps)  # at which scikit-learn's log_loss clips
_WORTH = 0.001  # of log-loss, that a calibration must be better by: less may be chance


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose X are its answers: what scikit-learn's calibrators are asked to calibrate."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        """The categories, sorted."""
        return self.classes

    def fit(self, X: np.ndarray, y: np.ndarray) -> "GivenProbabilities":
        """Nothing is to be fitted."""
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """X, (rows, classes)."""
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The best category of each row."""
        return self.classes[X.argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return True


def fit_calibrator(probabilities: np.ndarray, codes: np.ndarray, classes: np.ndarray, method: str) -> Any:
    """A fitted CalibratedClassifierCV whose `predict_proba` takes and gives probabilities (rows, classes).

    From out-of-fold probabilities and the rows' true categories, as places in `classes`, all of which are met.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    every = np.arange(len(codes))  # they are out of fold already
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(GivenProbabilities(classes)), method=method, cv=[(every, every)]
    )
    return calibrated.fit(np.asarray(probabilities, dtype=np.float64), classes[codes])


def best_method(probabilities: np.ndarray, codes: np.ndarray) -> Calibration | None:
    """The method with the least log-loss on rows that it was not fitted on; None where none clearly helps.

    Fitted on one half of the rows, of every category that has two, and judged on the other, in turn.
    """
    kept = np.bincount(codes, minlength=probabilities.shape[1]) >= 2
    rows = kept[codes]
    known = probabilities[rows][:, kept].astype(np.float64) + _TINY
    known /= known.sum(axis=1, keepdims=True)
    codes, classes = (np.cumsum(kept) - 1)[codes[rows]], np.arange(kept.sum())
    if len(classes) < 2:
        return None
    first = np.empty(len(codes), dtype=bool)
    first[np.argsort(codes, kind="stable")] = np.arange(len(codes)) % 2 == 0
    losses: dict[Calibration | None, float] = {None: log_loss(known, codes) - _WORTH}
    for method in CALIBRATIONS:
        answers = np.empty_like(known)
        for half in (first, ~first):
            calibrator = fit_calibrator(known[half], codes[half], classes, method)
            answers[~half] = calibrator.predict_proba(known[~half])
        losses[method] = log_loss(answers, codes)
    return min(losses, key=lambda method: losses[method])


def log_loss(probabilities: np.ndarray, codes: np.ndarray) -> float:
    """The mean negative logarithm (natural) of the true category's probability."""
    of_truth = probabilities[np.arange(len(codes)), codes].astype(np.float64)
    return float(-np.log(np.clip(of_truth, _TINY, 1)).mean())
