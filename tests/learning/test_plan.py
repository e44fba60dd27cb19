"""What a plan's calibration is learned from."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bc4all.learning import fitting, plan
from bc4all.learning.folds import FOLDS, Rows, folds
from bc4all.learning.model_size import Room
from bc4all.learning.plan import Plan, fit_plan
from bc4all.learning.tasks import OneTask
from bc4all.model.calibration import fit_calibrator
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

ROWS = 600
TASK = OneTask(Room(1 << 30, "this test"))


def products() -> TrainingSet:
    """Three categories that overlap, and two of one product."""
    rng = np.random.default_rng(1)
    codes = np.arange(ROWS) % 3
    codes[:2] = 3, 4
    X = rng.normal(size=(ROWS, 2)) + codes[:, None]
    return make_training_set(X, codes, list("abcde"))


@pytest.mark.parametrize("most", [50_000, 90], ids=["all", "a sample"])
@pytest.mark.parametrize("method", ["temperature", "sigmoid"])
def test_a_temperature_is_learned_from_one_fold_of_many_rows(
    monkeypatch: pytest.MonkeyPatch, method: str, most: int
) -> None:
    """Then one model less is fitted a fold, and on all rows that are not asked; other methods need all folds."""
    monkeypatch.setattr(plan, "_ONCE_ROWS", ROWS)
    data, fitted_on = products(), []
    fit_whole = fitting._fit_whole

    def noted(estimator: Any, data: TrainingSet, places: np.ndarray) -> Any:
        fitted_on.append(len(places))
        return fit_whole(estimator, data, places)

    monkeypatch.setattr(fitting, "_fit_whole", noted)
    own = folds(data.codes, most)
    with TASK.shared(Rows(data, np.arange(ROWS), own)) as rows:
        fitted = fit_plan(TASK, rows, Plan("test", [LogisticRegression()], [1.0], method, {}))
    assert fitted.model is fitted.judged
    if method != "temperature":
        assert len(fitted_on) == 1 + FOLDS
        return
    asked = np.flatnonzero(own == 0)
    assert fitted_on == [ROWS, ROWS - len(asked)]
    others = np.setdiff1d(np.arange(ROWS), asked)
    alone = LogisticRegression().fit(data.X[others], data.labels(others))
    answers = np.zeros((len(asked), 5))
    answers[:, np.searchsorted(data.names, alone.classes_)] = alone.predict_proba(data.X[asked])
    counted = data.codes[asked] < 3
    wanted = fit_calibrator(answers, data.codes[asked], data.names, "temperature", counted)
    calibrator = fitted.model.calibrator  # type: ignore[attr-defined]
    np.testing.assert_allclose(calibrator.predict_proba(answers), wanted.predict_proba(answers), rtol=1e-5)
    assert fitted.answers is not None
    np.testing.assert_array_equal(fitted.answers.places, asked)
    np.testing.assert_allclose(fitted.answers.probabilities, wanted.predict_proba(answers), rtol=1e-4)
    found = float(calibrator.calibrated_classifiers_[0].calibrators[0].beta_)
    assert 0.5 < found < 2.0


def test_categories_that_no_row_has_do_not_count() -> None:
    """A temperature is the same with them and without; their probabilities are calibrated, too."""
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.ones(3), 200)
    codes = np.array([rng.choice(3, p=row**2 / (row**2).sum()) for row in answers])
    wide = np.zeros((200, 4))
    wide[:, [0, 1, 3]] = answers
    places = np.array([0, 1, 3])[codes]
    few, more = (
        fit_calibrator(given, truth, np.arange(given.shape[1]), "temperature")
        for given, truth in ((answers, codes), (wide, places))
    )
    np.testing.assert_allclose(more.predict_proba(wide)[:, [0, 1, 3]], few.predict_proba(answers), atol=1e-4)
    assert list(more.classes_) == [0, 1, 2, 3]


@pytest.mark.parametrize("calibrate", [None, "temperature"])
def test_what_is_fitted_again_has_seen_every_row(calibrate: str | None) -> None:
    """And has the calibration of the model that is judged, to which those rows were unknown."""
    data, plan_ = products(), Plan("test", [LogisticRegression()], [1.0], calibrate, {})
    places = np.delete(np.arange(ROWS), np.arange(50, 100))
    with TASK.shared(Rows(data, places, folds(data.codes[places]))) as rows:
        fitted, alone = fit_plan(TASK, rows, plan_, again=True), fit_plan(TASK, rows, plan_).judged
    judged, model = fitted.judged, fitted.model
    every = LogisticRegression().fit(data.X, data.labels(np.arange(ROWS))).predict_proba(data.X)
    if calibrate:
        assert model.calibrator is judged.calibrator  # type: ignore[attr-defined]
        every = judged.calibrator.predict_proba(every)  # type: ignore[attr-defined]
    np.testing.assert_allclose(model.predict_proba(data.X), every)
    np.testing.assert_allclose(judged.predict_proba(data.X), alone.predict_proba(data.X))
    assert np.abs(judged.predict_proba(data.X) - model.predict_proba(data.X)).max() > 1e-3


def test_what_is_known_out_of_fold_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `model: auto` knows it of all rows that have a fold: the temperature is learned from all of them."""
    monkeypatch.setattr(plan, "_ONCE_ROWS", ROWS)
    data, own = products(), folds(products().codes)
    known = np.random.default_rng(2).dirichlet(np.ones(5), ROWS)
    with TASK.shared(Rows(data, np.arange(ROWS), own)) as rows:
        model = fit_plan(TASK, rows, Plan("test", [LogisticRegression()], [1.0], "temperature", {}), known).model
    wanted = fit_calibrator(known, data.codes, data.names, "temperature", data.codes < 3)
    np.testing.assert_allclose(model.calibrator.predict_proba(known), wanted.predict_proba(known))  # type: ignore[attr-defined]
