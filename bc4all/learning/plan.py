"""A client's model to be fitted, as tasks know it: estimators and weights.

Without the configuration that they came from, whose library workers would import for seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from bc4all.errors import ModelError
from bc4all.learning import fitting
from bc4all.learning.fitting import FOLDS, Rows
from bc4all.learning.shared_value import Shared
from bc4all.learning.tasks import Tasks
from bc4all.model import blend
from bc4all.model.calibration import could_be_known, fit_calibrator
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


def fit_plan(
    tasks: Tasks, rows: Shared[Rows], plan: Plan, probabilities: np.ndarray | None = None, calibrator: Any = None
) -> Model:
    """Return the model of a plan.

    `probabilities`: what it answers out of fold, if that is known; `calibrator`: one to take over, as it was fitted for
    the same plan on fewer rows. Raises ModelError where scikit-learn refuses.
    """
    models = fitting.fit(tasks, plan.about, rows, plan.estimators)
    if len(models) == 1 and not plan.calibrate:
        return models[0]
    names = rows.value.data.names
    if plan.calibrate and calibrator is None:
        calibrator = _calibrator(tasks, rows, plan, plan.calibrate, probabilities)
    return blend.Blend(models, plan.weights, names, calibrator)


def _calibrator(tasks: Tasks, rows: Shared[Rows], plan: Plan, method: str, probabilities: np.ndarray | None) -> Any:
    """Return what calibrates a plan's answers; None where no row's category could be known."""
    data, codes = rows.value.data, rows.value.data.codes[rows.value.sampled]
    counted = could_be_known(codes)
    if not counted.any():
        return None
    if probabilities is None:
        once = method == "temperature" and len(rows.value.places) >= _ONCE_ROWS
        probabilities = plan_answers(tasks, rows, plan, once)
        if once:
            first = rows.value.folds[rows.value.folds < FOLDS] == 0
            codes, counted = codes[first], counted[first]
    return fit_calibrator(probabilities, codes, data.names, method, counted)


def fit_again(tasks: Tasks, rows: Shared[Rows], plan: Plan, judged: Model) -> Model:
    """Return what `judged` is, fitted on other rows; its calibration, learned from rows that it had not seen, stays."""
    calibrator = getattr(judged, "calibrator", None)
    if calibrator is None:  # as there was nothing to learn it from, though there may be now
        plan = replace(plan, calibrate=None)
    return fit_plan(tasks, rows, plan, calibrator=calibrator)


def plan_answers(tasks: Tasks, rows: Shared[Rows], plan: Plan, once: bool = False) -> np.ndarray:
    """Return what a plan's model answers out of fold, before it is calibrated; `once`: to the first fold alone.

    Raises ModelError where scikit-learn refuses.
    """
    answers = fitting.out_of_fold(tasks, rows, plan.estimators, once)
    refused = next((answer.error for answer in answers if answer.error), "")
    if refused:
        raise ModelError(refused, plan.about, "change its data or `model`")
    return blend.soft_vote((one.probabilities for one in answers), plan.weights)
