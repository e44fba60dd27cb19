"""Probabilities that mean what they say: scikit-learn's calibrators, over what a model answered for unseen rows."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from bc4all.kinds import CALIBRATIONS, Calibration

_TINY = float(np.finfo(np.float64).eps)  # at which scikit-learn's log_loss clips
_MIN_GAIN = 0.001  # of log-loss, that a calibration must be better by: less may be chance


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose X are its answers: what scikit-learn's calibrators are asked to calibrate."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        """The categories, sorted."""
        return self.classes

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "GivenProbabilities":
        """Nothing is to be fitted."""
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """X, (rows, classes)."""
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the best category of each row."""
        return np.asarray(self.classes[X.argmax(axis=1)])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def fit_calibrator(
    probabilities: np.ndarray, codes: np.ndarray, classes: np.ndarray, method: str, counted: np.ndarray | None = None
) -> Any:
    """Return a fitted CalibratedClassifierCV whose `predict_proba` takes and gives probabilities (rows, classes).

    From out-of-fold probabilities and the rows' true categories, as places in `classes`; only a "temperature" may be
    fitted where a category has no row. `counted` (rows,): whether a row counts, one at least; all do without. Answers
    that are never wrong count as if they had been once: of no number of them follows that there is no doubt.
    """
    from sklearn.calibration import CalibratedClassifierCV

    X = np.asarray(probabilities, dtype=np.float64)
    weights = np.ones(len(codes)) if counted is None else counted.astype(np.float64)
    if not weights[X.argmax(axis=1) != codes].any():
        second = X.argsort(axis=1)[:, -2]  # would be right in one row of all
        X, codes, weights = np.r_[X, X], np.r_[codes, second], np.r_[weights, weights / weights.sum()]
    unmet = np.setdiff1d(np.arange(len(classes)), codes)  # scikit-learn knows those alone that a row has
    even = np.full((len(unmet), len(classes)), 1 / len(classes))
    X, codes, weights = np.r_[X, even], np.r_[codes, unmet], np.r_[weights, 0 * unmet]
    every = np.arange(len(codes))  # they are out of fold already
    calibrated = CalibratedClassifierCV(GivenProbabilities(classes), method=method, cv=[(every, every)])
    return calibrated.fit(X, classes[codes], sample_weight=weights)


def cross_fitted(probabilities: np.ndarray, codes: np.ndarray, method: str) -> np.ndarray:
    """Probabilities (rows, categories), each row's as calibrated by what was fitted on the other half of the rows.

    A temperature is of all categories. Otherwise one of a single row has none in one of the halves: its probabilities
    stay as they are.
    """
    kept = np.bincount(codes, minlength=probabilities.shape[1]) > 1
    if method == "temperature":
        kept[:] = True
    rows, classes = kept[codes], np.arange(kept.sum())
    answers = probabilities.astype(np.float64)
    if len(classes) < 2:  # nothing to tell apart
        return answers
    share = answers[:, kept].sum(axis=1, keepdims=True)
    known = (answers[:, kept] + _TINY) / (share + _TINY * len(classes))
    truth = (np.cumsum(kept) - 1)[codes]
    first = np.zeros(len(codes), dtype=bool)
    order = np.argsort(codes, kind="stable")
    first[order] = np.arange(len(codes)) % 2 == 0
    calibrated = np.empty_like(known)
    for half in (first, ~first):
        calibrator = fit_calibrator(known[half & rows], truth[half & rows], classes, method)
        calibrated[~half] = calibrator.predict_proba(known[~half])
    answers[:, kept] = calibrated * share
    return answers


def best_method(
    probabilities: np.ndarray, codes: np.ndarray, counted: np.ndarray
) -> tuple[Calibration | None, np.ndarray]:
    """Return the method with the least log-loss on rows that it was not fitted on, and its probabilities of them.

    None, and the probabilities as they are, where no method clearly helps. `counted` (rows,): whether a row counts.
    Where a category has no row, as in a sample of thousands of them, a temperature is all that can be learned.
    """
    whole = len(np.unique(codes)) == probabilities.shape[1]
    best: tuple[float, Calibration | None, np.ndarray] = (
        log_loss(probabilities[counted], codes[counted]) - _MIN_GAIN,
        None,
        probabilities,
    )
    for method in CALIBRATIONS if whole else CALIBRATIONS[:1]:
        answers = cross_fitted(probabilities, codes, method)
        loss = log_loss(answers[counted], codes[counted])
        if loss < best[0]:
            best = loss, method, answers
    return best[1], best[2]


def log_loss(probabilities: np.ndarray, codes: np.ndarray) -> float:
    """Return the mean negative logarithm (natural) of the true category's probability."""
    return mean_loss(probabilities[np.arange(len(codes)), codes])


def mean_loss(of_truth: np.ndarray) -> float:
    """Return the log-loss of rows (rows,) whose true categories have these probabilities."""
    return float(-np.log(np.clip(of_truth.astype(np.float64), _TINY, 1)).mean())
