"""Many categories: candidates are compared on a sample of the rows, and are what they would be of all of them."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier

from bc4all.learning.blending import Sample
from bc4all.learning.fitting import out_of_fold, side_by_side
from bc4all.learning.folds import FOLDS, MAX_COMPARED_ROWS, Rows, folds
from bc4all.learning.model_size import Room
from bc4all.learning.plan import Plan, fit_plan, plan_answers
from bc4all.learning.tasks import OneTask
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

CATEGORIES, ROWS = 1_000, 30_000
TASK = OneTask(Room(4 << 30, "this test"))


def products() -> TrainingSet:
    """Frequent categories and rare ones, close to one another: their neighbours tell more the more there are."""
    rng = np.random.default_rng(1)
    shares = 1 / np.arange(3, CATEGORIES + 3)
    codes = np.r_[np.repeat(np.arange(CATEGORIES), 2), rng.choice(CATEGORIES, ROWS, p=shares / shares.sum())]
    centres = rng.uniform(size=(CATEGORIES, 6))
    X = centres[codes] + 0.1 * rng.normal(size=(len(codes), 6))
    return make_training_set(X, codes, [f"c{place:04}" for place in range(CATEGORIES)])


def test_a_thousand_categories_are_as_good_as_they_are() -> None:
    """A fold's accuracy is that of the model that is fitted on all rows, and hardly a row cannot be known."""
    data = products()
    places = np.arange(0, len(data.codes) - 5_000)
    neighbours = KNeighborsClassifier(5, weights="distance")
    rest = np.arange(len(places), len(data.codes))
    truth = neighbours.fit(data.X[places], data.codes[places]).score(data.X[rest], data.codes[rest])
    with TASK.shared(Rows(data, places, folds(data.codes[places]))) as rows:
        assert rows.value.is_sampled
        sample = Sample.of(rows)
        ((answer,),) = side_by_side(TASK, "test", [out_of_fold(TASK, rows, [neighbours], once=True)])
        found = sample.scores(answer.probabilities).accuracy
        again = sample.scores(plan_answers(TASK, rows, Plan("test", [neighbours], [1.0], None, {}))).accuracy
    assert len(sample.codes) * CATEGORIES < 6e6
    assert (~sample.scored).mean() < 0.01
    assert found == again == pytest.approx(truth, abs=0.03)
    frequent = np.bincount(data.codes[places], minlength=CATEGORIES)[:20] / len(places)
    drawn = np.bincount(sample.codes, minlength=CATEGORIES)[:20] / len(sample.codes)
    np.testing.assert_allclose(drawn, frequent, atol=0.01)


def test_what_is_known_of_a_sample_calibrates() -> None:
    """A blend that was chosen by a fold's answers is calibrated by these, with the rows that they are of."""
    data = products()
    places = np.arange(10_000)
    data = make_training_set(data.X[places], data.codes[places], data.names)
    trees = ExtraTreesClassifier(3, random_state=0, max_depth=8)
    plan = Plan("test", [trees], [1.0], "temperature", {})
    with TASK.shared(Rows(data, places, folds(data.codes, most_cells=CATEGORIES))) as rows:
        known = plan_answers(TASK, rows, plan)
        model = fit_plan(TASK, rows, plan, known).model
    assert 600 < len(known) < 2_000
    assert 0.2 < float(model.calibrator.calibrated_classifiers_[0].calibrators[0].beta_) < 5  # type: ignore[attr-defined]


def test_more_rows_than_are_compared_are_not_fitted_on() -> None:
    codes = np.arange(2 * MAX_COMPARED_ROWS, dtype=np.int32) % 3
    data = make_training_set(codes[:, None].astype(float), codes, list("abc"))
    rows = Rows(data, np.arange(len(codes)), folds(codes))
    others = rows.others(0)
    assert len(others) == MAX_COMPARED_ROWS
    assert not np.isin(others, np.flatnonzero(rows.folds == 0)).any()
    assert len(rows.asked(once=True)[0]) == pytest.approx(MAX_COMPARED_ROWS / FOLDS, abs=2)
