"""Blends and calibration: held against scikit-learn's own, stored and read, refused where they were tampered with."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from bc4all.errors import ModelError
from bc4all.kinds import CALIBRATIONS
from bc4all.model.blend import Blend, EmbeddedForest, placed, soft_vote
from bc4all.model.calibration import (
    GivenProbabilities,
    best_method,
    cross_fitted,
    fit_calibrator,
    log_loss,
)
from bc4all.model.forest import CompactForest
from bc4all.model.model_file import SKOPS_FILE, digest, load_model, save_model

X, CODES = make_classification(600, 6, n_informative=4, n_classes=4, n_clusters_per_class=1, random_state=0)
NAMES = np.array(["a", "b", "c", "d"], dtype=object)
Y = NAMES[CODES]


def members() -> list[object]:
    """A forest and a linear model."""
    return [ExtraTreesClassifier(7, random_state=0).fit(X, Y), LogisticRegression().fit(X, Y)]


def compact_blend(calibrator: object = None) -> Blend:
    """The same two as a blend, the forest as compact arrays."""
    forest, linear = members()
    return Blend([CompactForest.from_sklearn(forest), linear], [2.0, 1.0], NAMES, calibrator)  # type: ignore[list-item]


def test_votes_as_scikit_learn_does() -> None:
    """The weighted mean of a VotingClassifier over the same members."""
    forest, linear = members()
    voting = VotingClassifier([("forest", forest), ("linear", linear)], voting="soft", weights=[2.0, 1.0]).fit(X, Y)
    np.testing.assert_allclose(compact_blend().predict_proba(X), voting.predict_proba(X), rtol=1e-12)


def test_what_a_member_has_never_met_it_gives_nothing() -> None:
    """A member that was fitted without a category has 0 for it, in the right column."""
    known = np.array(["b", "d"], dtype=object)
    wide = placed(np.array([[0.25, 0.75]]), known, NAMES)
    assert wide.tolist() == [[0.0, 0.25, 0.0, 0.75]]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5))
def test_weights_need_not_sum_to_one(weights: list[float]) -> None:
    """Equal answers stay as they are, whatever the weights."""
    answers = np.full((2, 3), 1 / 3)
    np.testing.assert_allclose(soft_vote([answers] * len(weights), weights), answers)


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_calibrates_as_scikit_learn_does(method: str) -> None:
    """From out-of-fold answers, a calibrator is the one that CalibratedClassifierCV(ensemble=False) fits."""
    model = GaussianNB()
    folds = [
        (np.flatnonzero(np.arange(600) % 3 != fold), np.flatnonzero(np.arange(600) % 3 == fold)) for fold in range(3)
    ]
    answers = cross_val_predict(model, X, Y, cv=folds, method="predict_proba")
    ours = fit_calibrator(answers, CODES, NAMES, method)
    theirs = CalibratedClassifierCV(model, method=method, cv=folds, ensemble=False).fit(X, Y)
    fitted = model.fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(ours.predict_proba(fitted), theirs.predict_proba(X), atol=1e-9)


def test_an_overconfident_model_is_calibrated_and_an_honest_one_is_not() -> None:
    """Where a method lowers the log-loss on rows that it has not seen it is taken; where none does, none is."""
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.ones(4), 4000)
    codes = np.array([rng.choice(4, p=row) for row in honest])
    assert best_method(honest, codes, codes >= 0)[0] is None
    sure = honest**4 / (honest**4).sum(axis=1, keepdims=True)
    method, answers = best_method(sure, codes, codes >= 0)
    assert method == "temperature"
    np.testing.assert_array_equal(answers, cross_fitted(sure, codes, "temperature"))
    assert log_loss(answers, codes) == pytest.approx(log_loss(honest, codes), abs=0.01)
    calibrated = fit_calibrator(sure, codes, NAMES, "temperature").predict_proba(sure)
    assert log_loss(calibrated, codes) < log_loss(sure, codes) - 0.5


def test_where_a_category_has_no_row_a_temperature_is_all() -> None:
    """Scores that are wrong category by category have another remedy, but not for a category that was not met."""
    rng = np.random.default_rng(3)
    honest = rng.dirichlet(np.ones(4), 4000)
    codes = np.array([rng.choice(4, p=row) for row in honest])
    skewed = honest ** np.array([1, 1, 3, 3])
    skewed /= skewed.sum(axis=1, keepdims=True)
    assert best_method(skewed, codes, codes >= 0)[0] in ("sigmoid", "isotonic")
    wide = np.c_[skewed, np.zeros(len(skewed))]
    assert best_method(wide, codes, codes >= 0)[0] in ("temperature", None)


def test_a_category_of_one_row_is_no_obstacle() -> None:
    """Calibration is judged on the categories that have rows for both halves."""
    rng = np.random.default_rng(1)
    answers, codes = rng.dirichlet(np.ones(4), 41), np.r_[np.arange(40) % 3, 3]
    for method in CALIBRATIONS:
        calibrated = cross_fitted(answers, codes, method)
        assert method == "temperature" or (calibrated[:, 3] == answers[:, 3]).all()
        np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    alone = cross_fitted(answers[:2], np.array([0, 3]), "sigmoid")
    np.testing.assert_array_equal(alone, answers[:2])


def test_a_temperature_is_of_rare_categories_too() -> None:
    """Of a sample of a thousand categories, most of one row: their scores are as far from the truth as others'."""
    rng = np.random.default_rng(4)
    honest = rng.dirichlet(np.full(1000, 0.01), 1500)
    codes = np.array([rng.choice(1000, p=row) for row in honest])
    blunt = np.maximum(honest, 1e-9) ** 0.3
    blunt /= blunt.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many categories for so few rows
        found = log_loss(cross_fitted(blunt, codes, "temperature"), codes)
    assert found == pytest.approx(log_loss(np.maximum(honest, 1e-9), codes), abs=0.05)
    assert found < log_loss(blunt, codes) - 0.5


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("sizes", [[2, 2], [2, 2, 2], [3, 2]])
def test_a_category_of_two_rows_counts_in_each_half(sizes: list[int], method: str) -> None:
    """Where a half has no more than one row of each category, they count all the same: the other half knows them."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    answers = np.random.default_rng(5).dirichlet(np.ones(len(sizes)), len(codes))
    np.testing.assert_allclose(cross_fitted(answers, codes, method).sum(axis=1), 1)


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_what_nobody_could_know_does_not_blur_the_rest(method: str) -> None:
    """A row whose category no other row has is answered with 0 out of fold; the others are calibrated as without it."""
    rng = np.random.default_rng(2)
    answers = np.c_[rng.dirichlet(np.full(3, 0.2), 300), np.zeros(300)]
    codes = np.array([rng.choice(3, p=row[:3]) for row in answers])
    codes[7] = 3
    of_all = fit_calibrator(answers, codes, NAMES, method, np.arange(300) != 7).predict_proba(answers)
    others = np.arange(300) != 7
    of_others = fit_calibrator(answers[others, :3], codes[others], NAMES[:3], method).predict_proba(answers[:, :3])
    np.testing.assert_allclose(of_all[:, :3].argmax(axis=1), of_others.argmax(axis=1))
    assert log_loss(of_all[others], codes[others]) == pytest.approx(
        log_loss(of_others[others], codes[others]), abs=0.02
    )


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_who_was_never_wrong_is_not_infallible(method: str) -> None:
    """Answers that were all right are as doubtful as if one of them had not been."""
    rng = np.random.default_rng(3)
    codes = np.arange(200) % 4
    answers = 0.6 * np.eye(4)[codes] + 0.4 * rng.dirichlet(np.ones(4), 200)
    calibrated = fit_calibrator(answers, codes, NAMES, method).predict_proba(answers)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), codes)
    assert 0.001 < 1 - calibrated.max(axis=1).mean() < 0.05


def test_log_loss_is_scikit_learns() -> None:
    """Zeros included, which are clipped."""
    answers = LogisticRegression().fit(X, Y).predict_proba(X)
    answers[0] = np.eye(4)[(CODES[0] + 1) % 4]
    assert log_loss(answers, CODES) == pytest.approx(sklearn_log_loss(CODES, answers, labels=range(4)))


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    """Stored and read, and pickled as Spark does, a calibrated blend answers as before; its forest stays compact."""
    calibrator = fit_calibrator(compact_blend().predict_proba(X), CODES, NAMES, "sigmoid")
    blend = compact_blend(calibrator)
    file = save_model(blend, tmp_path)  # type: ignore[arg-type]
    for again in (load_model(file, digest(file)), pickle.loads(pickle.dumps(blend))):  # noqa: S301 - as Spark does to a broadcast
        np.testing.assert_array_equal(again.predict_proba(X), blend.predict_proba(X))
        assert isinstance(again.members[0], EmbeddedForest)
    assert b"sklearn.tree" not in file.read_bytes()


def test_a_version_of_before_is_read(tmp_path: Path) -> None:
    """Calibrators once kept what they calibrate as a FrozenEstimator."""
    answers, every = compact_blend().predict_proba(X), np.arange(len(X))
    frozen = FrozenEstimator(GivenProbabilities(NAMES))
    calibrator = CalibratedClassifierCV(frozen, method="temperature", cv=[(every, every)]).fit(answers, Y)
    file = save_model(compact_blend(calibrator), tmp_path)  # type: ignore[arg-type]
    found = load_model(file, digest(file)).predict_proba(X)
    np.testing.assert_array_equal(found, compact_blend(calibrator).predict_proba(X))


def test_a_forest_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    """What a blend's file holds of a forest is checked as a forest's own file is."""
    blend = compact_blend()
    wrong = blend.members[0]._forest
    wrong.nodes["tag"][0] = 77  # a feature that no row has
    file = save_model(blend, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="asks for a feature out of range"):
        load_model(file, digest(file))


def test_no_file_makes_a_forest_without_its_checks(tmp_path: Path) -> None:
    """A file that names CompactForest itself, whose constructor checks nothing, is refused."""
    from skops import io

    forest = CompactForest.from_sklearn(members()[0])
    io.dump({"predict_proba": forest}, tmp_path / SKOPS_FILE)
    assert "bc4all.model.forest.CompactForest" in io.get_untrusted_types(file=tmp_path / SKOPS_FILE)
    with pytest.raises(ModelError, match="is refused"):
        load_model(tmp_path / SKOPS_FILE, digest(tmp_path / SKOPS_FILE))


@pytest.mark.parametrize(
    "change",
    [{"members": []}, {"weights": [1.0]}, {"weights": [1.0, -1.0]}, {"classes_": NAMES[::-1]}, {"classes_": NAMES[:2]}],
)
def test_a_blend_that_cannot_vote_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    """Members, weights and categories must agree when a blend is read: else columns would be another category's."""
    blend = compact_blend()
    blend.__dict__.update(change)
    file = save_model(blend, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="the blend is refused"):
        load_model(file, digest(file))


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("classes", [2, 4])
def test_each_calibrator_comes_back(method: str, classes: int, tmp_path: Path) -> None:
    """Of two categories, too, which scikit-learn treats in another way."""
    rows = np.flatnonzero(classes > CODES)
    linear = LogisticRegression().fit(X[rows], Y[rows])
    answers = linear.predict_proba(X[rows])
    calibrator = fit_calibrator(answers, CODES[rows], NAMES[:classes], method)
    blend = Blend([linear], [1.0], NAMES[:classes], calibrator)
    file = save_model(blend, tmp_path)  # type: ignore[arg-type]
    again = load_model(file, digest(file))
    np.testing.assert_array_equal(again.predict_proba(X), blend.predict_proba(X))
    np.testing.assert_allclose(again.predict_proba(X).sum(axis=1), 1)
