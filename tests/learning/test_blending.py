"""What is made of candidates' out-of-fold answers: a blend where it is better, the best one where it is not."""

import numpy as np
import pytest

from bc4all.config.estimators import build_member
from bc4all.config.model_settings import MemberSettings
from bc4all.learning.blending import Candidate, Limits, Sample, best_of_each, scores_of, select
from bc4all.learning.fitting import COSTS, OutOfFold
from bc4all.model.calibration import log_loss

ROWS, CATEGORIES = 3000, 4
TRUTH = np.random.default_rng(0).integers(0, CATEGORIES, ROWS)
SAMPLE = Sample(None, TRUTH, np.ones(ROWS, dtype=bool))  # type: ignore[arg-type]


def candidate(name: str, noise: float, seed: int, megabytes: float = 0.1) -> Candidate:
    """One that knows the truth but for noise of its own."""
    evidence = 2 * np.eye(CATEGORIES)[TRUTH] + noise * np.random.default_rng(seed).normal(size=(ROWS, CATEGORIES))
    answers = np.exp(evidence) / np.exp(evidence).sum(axis=1, keepdims=True)
    parts = OutOfFold(answers.astype(np.float32), {**dict.fromkeys(COSTS, 0.0), "megabytes": megabytes})
    return Candidate(name, MemberSettings(classifier=f"x.{name}"), parts, SAMPLE.scores(parts.probabilities))


UNLIKE = [candidate("a", 1.5, 1), candidate("b", 1.5, 2), candidate("c", 1.6, 3)]


def test_unlike_candidates_are_blended() -> None:
    """Each has noise of its own: together they are better than the best, and the scores are the blend's own."""
    choice = select(SAMPLE, UNLIKE)
    assert {member.classifier for member in choice.blend.blend} == {"x.a", "x.b", "x.c"}
    best = min(one.scores.log_loss for one in UNLIKE if one.scores)
    assert choice.scores.log_loss < best - 0.1
    weights = [member.weight for member in choice.blend.blend]
    probabilities = [one.answers.probabilities for one in choice.candidates]
    np.testing.assert_allclose(choice.probabilities, np.average(probabilities, axis=0, weights=weights), atol=1e-6)


def test_what_adds_nothing_is_left_out() -> None:
    """Beside one that is far better, and beside its equals, the best stands alone, with a weight of 1."""
    good = candidate("good", 0.1, 1)
    choice = select(SAMPLE, [candidate("bad", 9.0, 2), good, good])
    assert [(member.classifier, member.weight) for member in choice.blend.blend] == [("x.good", 1.0)]


def test_a_blend_stays_within_the_limits() -> None:
    """What would be over a limit together is not put together; what fits, is."""
    heavy = [candidate(name, 1.5, seed, megabytes=6.0) for seed, name in enumerate("abc")]
    assert len(select(SAMPLE, heavy, Limits(megabytes=20)).candidates) == 3
    assert len(select(SAMPLE, heavy, Limits(megabytes=13)).candidates) == 2
    assert len(select(SAMPLE, heavy, Limits(megabytes=7)).candidates) == 1


def test_scores_are_those_of_the_calibrated_model() -> None:
    """One that is too sure of itself is calibrated, and judged as it will be registered."""
    sure = candidate("sure", 1.5, 1)
    sharp = sure.answers.probabilities.astype(np.float64) ** 5
    answers = OutOfFold((sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32))
    before = SAMPLE.scores(answers.probabilities)
    choice = select(SAMPLE, [Candidate("sure", sure.member, answers, before)])
    assert choice.blend.calibrate == "temperature"
    assert choice.scores.log_loss < before.log_loss - 0.2
    assert log_loss(choice.probabilities, TRUTH) == pytest.approx(before.log_loss)


def test_margins_are_compared_calibrated() -> None:
    """How large they are says nothing: too sure by five times, they are as good as they were; probabilities are not."""
    honest = candidate("a", 1.5, 1).answers.probabilities.astype(np.float64)
    sharp = (honest**5 / (honest**5).sum(axis=1, keepdims=True)).astype(np.float32)
    ridge, bayes = (
        build_member(MemberSettings(classifier=path), {"f": "numeric"})
        for path in ("sklearn.linear_model.RidgeClassifier", "sklearn.naive_bayes.GaussianNB")
    )
    assert scores_of(SAMPLE, bayes, sharp) == SAMPLE.scores(sharp)
    calibrated = scores_of(SAMPLE, ridge, sharp)
    assert calibrated.accuracy == SAMPLE.scores(sharp).accuracy
    assert calibrated.log_loss == pytest.approx(scores_of(SAMPLE, ridge, honest).log_loss, abs=0.01)
    assert calibrated.log_loss < SAMPLE.scores(sharp).log_loss - 0.2


def test_each_family_keeps_its_best() -> None:
    """However many of one family are better than all of another one."""
    many = [candidate("good", 0.1 + 0.1 * number, number) for number in range(9)]
    kept = best_of_each([*many, candidate("other", 5.0, 1)])
    assert [one.name for one in kept] == ["good"] * 4 + ["other"]
    assert [one.scores for one in kept[:4]] == [one.scores for one in many[:4]]
