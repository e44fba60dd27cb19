"""A client's model to be fitted, as tasks know it: estimators and weights.

Without the configuration that they came from, whose library workers would import for seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bc4all.errors import ModelError
from bc4all.learning import fitting
from bc4all.learning.fitting import OutOfFold
from bc4all.learning.folds import Rows
from bc4all.learning.shared_value import Shared
from bc4all.learning.tasks import Tasks
from bc4all.model import blend
from bc4all.model.calibration import fit_calibrator
from bc4all.model.ranking import Model

_ONCE_ROWS = 10_000  # from which a third of the rows is enough to find a temperature, which is a single number


@dataclass(frozen=True)
class Plan:
    """A blend of unfitted estimators; of one that is not calibrated, that estimator alone.

    `about` names it in errors; `said` is what it is made of, as JSON can hold it.
    """

    about: str
    estimators: Sequence[Any]
    weights: Sequence[float]
    calibrate: str | None
    said: Any


class Planner(Protocol):
    """Says what to fit on some rows, and what that answers to them out of fold, if it is known by then."""

    def __call__(self, tasks: Tasks, rows: Shared[Rows]) -> tuple[Plan, np.ndarray | None]: ...


@dataclass(frozen=True)
class Settled:
    """The planner of a client whose model is settled, whatever its rows."""

    plan: Plan

    def __call__(self, tasks: Tasks, rows: Shared[Rows]) -> tuple[Plan, None]:
        """Return its plan."""
        return self.plan, None


@dataclass(frozen=True)
class OutOfFoldAnswers:
    """What a plan's model answers for rows that it was not fitted on, calibrated if it is.

    places int (rows,): where these stand in the training set; probabilities (rows, categories).
    """

    places: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """The model of a plan that was fitted on the rows to fit on, and the one to use: the same, or fitted on every row.

    `answers` are None where nothing had to be asked out of fold.
    """

    judged: Model
    model: Model
    answers: OutOfFoldAnswers | None


def fit_plan(
    tasks: Tasks, rows: Shared[Rows], plan: Plan, probabilities: np.ndarray | None = None, again: bool = False
) -> Fitted:
    """Return the model of a plan, and, `again`, the same fitted on every row of the data.

    Its calibration, learned from rows that it had not seen, is that of both. All is fitted side by side.
    `probabilities`: its `plan_answers`, if they are known. Raises ModelError where scikit-learn refuses.
    """
    works: list[fitting.Work[Any]] = [fitting.fits(tasks, plan.about, rows, plan.estimators)]
    if again:
        works.append(fitting.fits(tasks, plan.about, rows, plan.estimators, every=True))
    few = plan.calibrate == "temperature" and len(rows.value.places) >= _ONCE_ROWS
    once = few if probabilities is None else rows.value.is_sampled
    codes, counted = rows.value.asked(once)
    calibrates = plan.calibrate if counted.any() else None
    asks = calibrates and probabilities is None
    if asks:
        works.append(fitting.out_of_fold(tasks, rows, plan.estimators, once))
    done = fitting.side_by_side(tasks, plan.about, works)
    if asks:
        probabilities = _voted(plan, done.pop())
    names, calibrator, answers = rows.value.data.names, None, None
    if calibrates and probabilities is not None:
        calibrator = fit_calibrator(probabilities, codes, names, calibrates, counted)
        probabilities = calibrator.predict_proba(probabilities.astype(np.float64)).astype(np.float32)
    if probabilities is not None:
        answers = OutOfFoldAnswers(rows.value.asked_places(once), probabilities)
    if len(plan.estimators) == 1 and not plan.calibrate:
        return Fitted(done[0][0], done[-1][0], answers)
    judged = blend.Blend(done[0], plan.weights, names, calibrator)
    model = blend.Blend(done[1], plan.weights, names, calibrator) if again else judged
    return Fitted(judged, model, answers)


def plan_answers(tasks: Tasks, rows: Shared[Rows], plan: Plan) -> np.ndarray:
    """Return what a plan's model answers out of fold, as candidates do, before it is calibrated.

    Raises ModelError where scikit-learn refuses.
    """
    asking = fitting.out_of_fold(tasks, rows, plan.estimators, rows.value.is_sampled)
    (answers,) = fitting.side_by_side(tasks, plan.about, [asking], "compare")
    return _voted(plan, answers)


def _voted(plan: Plan, answers: Sequence[OutOfFold]) -> np.ndarray:
    refused = next((answer.error for answer in answers if answer.error), "")
    if refused:
        raise ModelError(refused, plan.about, "change its data or `model`")
    return blend.soft_vote((one.probabilities for one in answers), plan.weights)
