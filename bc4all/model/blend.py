"""Several fitted classifiers that answer as one: the weighted mean of their probabilities, calibrated or not.

scikit-learn's VotingClassifier fits its members where it stands; these are fitted as Spark tasks, forests in chunks.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from bc4all.errors import ModelError
from bc4all.model.features import Matrix
from bc4all.model.forest import CompactForest
from bc4all.model.forest_file import read_forest, write_forest
from bc4all.model.ranking import Model


class Blend:
    """A soft vote. `classes_` are all members' categories; one that a member has never met has 0 from it."""

    def __init__(
        self, members: Sequence[Model], weights: Sequence[float], classes: np.ndarray, calibrator: Any = None
    ) -> None:
        """`calibrator`, of `calibration.fit_calibrator`, turns the mean probabilities into calibrated ones."""
        self.members = [embedded(member) for member in members]
        self.weights, self.classes_, self.calibrator = list(map(float, weights)), classes, calibrator

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raise ModelError where what was read cannot vote."""
        self.__dict__.update(state)
        try:
            sound = self._is_sound()
        except (AttributeError, TypeError, ValueError):
            sound = False
        if not sound:
            told = "the blend is refused: its members, weights and categories do not agree"
            raise ModelError(told, remedy="train the client again")

    def _is_sound(self) -> bool:
        classes = list(self.classes_)
        known = [set(member.classes_) for member in self.members]
        agree = classes == sorted(set(classes)) and all(one <= set(classes) for one in known)
        weighted = len(known) == len(self.weights) > 0 and all(0 < weight < np.inf for weight in self.weights)
        return agree and weighted and (self.calibrator is None or list(self.calibrator.classes_) == classes)

    def predict_proba(self, X: Matrix) -> np.ndarray:
        """Probabilities, float64 of shape (rows, classes)."""
        answers = (placed(member.predict_proba(X), member.classes_, self.classes_) for member in self.members)
        mean = soft_vote(answers, self.weights)
        return mean if self.calibrator is None else np.asarray(self.calibrator.predict_proba(mean))


def soft_vote(answers: Any, weights: Sequence[float]) -> np.ndarray:
    """Return the weighted mean, float64, of probabilities (rows, classes), one after the other."""
    total = 0.0
    for probabilities, weight in zip(answers, weights, strict=True):
        total = total + probabilities * (weight / sum(weights))
    return np.asarray(total)


def placed(probabilities: np.ndarray, known: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probabilities (rows, known) in the columns that `known` has among `classes`, sorted; the others are 0."""
    if len(known) == len(classes):
        return probabilities
    wide = np.zeros((len(probabilities), len(classes)), dtype=probabilities.dtype)
    wide[:, np.searchsorted(classes, known)] = probabilities
    return wide


class EmbeddedForest:
    """A CompactForest as a part of a model that skops stores: its file, which is checked when it is read.

    `columns`, if there is one, is the fitted transformer that makes numbers of its features.
    """

    def __init__(self, forest: CompactForest, columns: Any = None) -> None:
        self._forest, self._columns = forest, columns

    @property
    def classes_(self) -> np.ndarray:
        """The categories, sorted."""
        return self._forest.classes_

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays in memory."""
        return self._forest.nbytes

    def predict_proba(self, X: Matrix) -> np.ndarray:
        """As `CompactForest.predict_proba`."""
        return self._forest.predict_proba(X if self._columns is None else self._columns.transform(X))

    def __reduce__(self) -> tuple[Any, ...]:
        # For Spark's broadcasts, which no stranger writes: without the file's compression and checks. skops takes a
        # function for no constructor, and asks __getstate__.
        return _embedded, (self._forest, self._columns)

    def __getstate__(self) -> dict[str, Any]:
        content = BytesIO()
        write_forest(self._forest, content)
        return {"file": content.getvalue(), "columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forest, self._columns = read_forest(BytesIO(state["file"])), state["columns"]


def _embedded(forest: CompactForest, columns: Any) -> EmbeddedForest:
    return EmbeddedForest(forest, columns)


def embedded(model: Any) -> Any:
    """Return what a blend holds of a model: itself, unless it is a CompactForest."""
    return EmbeddedForest(model) if isinstance(model, CompactForest) else model
