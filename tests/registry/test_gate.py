"""Which version may take the champion's place, by answers alone."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.config.settings import PromotionSettings
from bc4all.model.training_set import MIN_COMPARED_ROWS
from bc4all.registry.champions import Change, behind_best, recorded
from bc4all.registry.gate import interval, judge


def answers(correct: np.ndarray) -> pd.DataFrame:
    """As `Evaluation.answers` of as many rows: a loss of 0.1 where the answer is right, else 3."""
    return pd.DataFrame({"correct": correct, "hit": correct, "loss": np.where(correct, 0.1, 3.0)})


def right(rows: int, share: float, seed: int = 0) -> np.ndarray:
    """Whether each of some rows is answered rightly, a share of them."""
    return np.random.default_rng(seed).random(rows) < share


@pytest.mark.parametrize("metric", ["accuracy", "top_5_accuracy", "log_loss"])
def test_a_version_that_is_worse_is_kept_out(metric: str) -> None:
    """Clearly worse on the rows of both: not promoted, and it is said by how much."""
    settings = PromotionSettings(metric=metric)  # type: ignore[arg-type]
    verdict = judge(settings, answers(right(1000, 0.6)), answers(right(1000, 0.8)))
    assert not verdict.promoted
    assert "more than 0.01 behind" in verdict.reason
    assert verdict.metrics["gate_low"] < verdict.metrics["gate_difference"] < verdict.metrics["gate_high"] < 0
    assert judge(settings, answers(right(1000, 0.8)), answers(right(1000, 0.6))).promoted


def test_noise_does_not_decide() -> None:
    """A difference that the draw of a few rows explains keeps nobody out, though it is larger than allowed."""
    champion = right(60, 0.8)
    challenger = champion.copy()
    challenger[np.flatnonzero(champion)[:2]] = False
    challenger[np.flatnonzero(~champion)[:1]] = True
    verdict = judge(PromotionSettings(), answers(challenger), answers(champion))
    assert verdict.promoted
    assert verdict.reason.endswith("behind, but it may be by chance")


def test_a_small_sure_step_back_is_allowed() -> None:
    """What is surely worse, but by less than is allowed, may come in."""
    champion = right(20_000, 0.8)
    challenger = champion.copy()
    challenger[np.flatnonzero(champion)[:100]] = False
    verdict = judge(PromotionSettings(max_regression=0.01), answers(challenger), answers(champion))
    assert verdict.promoted
    assert verdict.metrics["gate_high"] < 0
    assert not judge(PromotionSettings(max_regression=0.0), answers(challenger), answers(champion)).promoted


def stepping_back(steps: int, back: float) -> list[bool]:
    """Whether each of some versions is promoted, each worse than the champion by the same small part."""
    rows, now = 20_000, datetime(2026, 6, 1, tzinfo=UTC)
    champion, changes, promoted = right(rows, 0.8), [Change(1, (now - timedelta(days=60)).isoformat(), "")], []
    for number in range(2, 2 + steps):
        challenger = champion.copy()
        challenger[np.flatnonzero(champion)[: int(back * rows)]] = False
        lost = behind_best(changes, "accuracy", now)
        verdict = judge(PromotionSettings(), answers(challenger), answers(champion), behind_best=lost)
        promoted.append(verdict.promoted)
        if verdict.promoted:
            at, found = (now - timedelta(days=60 - number)).isoformat(), verdict.metrics
            doubt = (found["gate_high"] - found["gate_low"]) / 2
            changes.append(Change(number, at, "", gain=found["gate_difference"], doubt=doubt, metric="accuracy"))
            champion = challenger
        else:
            assert "since the best champion of the last year" in verdict.reason
    return promoted


def test_small_steps_back_count_together() -> None:
    """Each is less than is allowed; ten of them are not: what was lost since the best champion is."""
    assert stepping_back(10, 0.004) == [True, True, *[False] * 8]


def test_what_is_no_step_back_is_not_held_against_a_version() -> None:
    """One that is as good as a champion that has lost something may come in, and so may a better one."""
    champion = right(20_000, 0.8)
    better = champion.copy()
    better[np.flatnonzero(~champion)[:20]] = True
    for challenger in (champion, better):
        assert judge(PromotionSettings(), answers(challenger), answers(champion), behind_best=(0.05, 0.0)).promoted


def test_the_best_champion_is_looked_for_as_far_as_each_was_compared() -> None:
    """What a person promoted, another metric, a champion of more than a year ago begin anew."""
    now = datetime(2026, 6, 1, tzinfo=UTC)

    def change(days: int, gain: float | None, metric: str = "accuracy") -> Change:
        return Change(1, (now - timedelta(days=days)).isoformat(), "", gain=gain, doubt=0.003, metric=metric)

    steps = [change(90, None), change(60, 0.02), change(50, -0.006), change(40, -0.006), change(30, 0.004)]
    assert behind_best(steps, "accuracy", now) == pytest.approx((0.008, 0.003 * 3**0.5))
    assert behind_best([change(400, -0.02), change(300, -0.003)], "accuracy", now) == pytest.approx((0.003, 0.003))
    unrecorded = Change(1, "", "not recorded", gain=-0.1, metric="accuracy")
    for changes in (steps[:2], [], [*steps, change(10, None)], [unrecorded]):
        assert behind_best(changes, "accuracy", now) == (0, 0)
    assert behind_best(steps, "log_loss", now) == (0, 0)


def test_a_tag_holds_many_changes() -> None:
    """The latest with their whole reasons, older ones with the beginning of theirs; the oldest are left out."""
    why = "accuracy -0.0021 [-0.0101, +0.0059] against the champion's on 1000 rows".ljust(150, ".")
    step = Change(0, "2026-06-01T00:00:00+00:00", why, gain=-0.0021, doubt=0.008, metric="accuracy")
    changes = [replace(step, version=number) for number in range(60)]
    assert json.loads(recorded(changes[:3])) == [asdict(change) for change in changes[:3]]
    record = recorded(changes)
    assert len(record) <= 4900
    kept = json.loads(record)
    assert [change["version"] for change in kept] == list(range(60 - len(kept), 60))
    assert len(kept) > 20
    assert [asdict(change) for change in changes[-10:]] == kept[-10:]
    assert {len(change["why"]) for change in kept[:-10]} == {40}


@pytest.mark.parametrize("rows", [100, 300, 1000])
def test_chance_is_not_counted_together(rows: int) -> None:
    """Of versions that are as good as each other, while a few rows change each time, hardly one is kept out."""
    rng, now, kept_out = np.random.default_rng(rows), datetime(2026, 6, 1, tzinfo=UTC), 0
    for _ in range(4):
        champion, changes = rng.random(rows) < 0.8, [Change(1, now.isoformat(), "")]
        for number in range(2, 14):
            redrawn = rng.random(rows) < 0.1
            champion = np.where(redrawn, rng.random(rows) < 0.8, champion)
            differs = rng.random(rows) < 0.05
            challenger = np.where(differs, rng.random(rows) < 0.8, champion)
            verdict = judge(
                PromotionSettings(),
                answers(challenger),
                answers(champion),
                behind_best=behind_best(changes, "accuracy", now),
            )
            kept_out += not verdict.promoted
            if verdict.promoted:
                found = verdict.metrics
                doubt = (found["gate_high"] - found["gate_low"]) / 2
                changes.append(Change(number, now.isoformat(), "", False, found["gate_difference"], doubt, "accuracy"))
                champion = challenger
    assert kept_out <= 2  # of 48


@pytest.mark.parametrize(
    ("settings", "promoted", "reason"),
    [
        ({"min_value": 0.7}, False, "its accuracy is 0.6000, below 0.7"),
        ({"min_value": 0.6}, True, "there is no champion"),
        ({"min_value": 1.0, "metric": "log_loss"}, False, "its log_loss is 1.2600, above 1.0"),
        ({"min_value": 1.5, "metric": "log_loss"}, True, "there is no champion"),
        ({"min_value": 0.7, "mode": "dry_run"}, False, "dry run, it would not be promoted: its accuracy is 0.6000"),
        ({"mode": "dry_run"}, False, "dry run, it would be promoted: there is no champion"),
        ({"min_value": 0.7, "mode": "disabled"}, True, "the gate is disabled"),
    ],
)
def test_the_bar_holds_for_the_first_one_too(settings: dict[str, object], promoted: bool, reason: str) -> None:
    """A version must clear the bar, whether or not there is a champion; modes say who decides."""
    given_answers = answers(np.arange(100) < 60)
    verdict = judge(PromotionSettings.model_validate(settings), given_answers, None)
    assert (verdict.promoted, verdict.reason[: len(reason)]) == (promoted, reason)


def test_without_enough_rows_it_is_the_bar_alone() -> None:
    """Too few rows that the champion has not learned from, or none held out: not compared, and that is said."""
    few = answers(right(MIN_COMPARED_ROWS - 1, 1.0))
    verdict = judge(PromotionSettings(), answers(right(MIN_COMPARED_ROWS - 1, 0.1)), few)
    assert (verdict.promoted, verdict.reason) == (True, "only 29 held-out rows are new to the champion: not compared")
    assert judge(PromotionSettings(), None, few).reason == "there are no held-out rows"
    assert not judge(PromotionSettings(min_value=0.1), None, None).promoted


def test_few_held_out_rows_leave_it_to_the_recipes() -> None:
    """What both recipes answer out of fold decides, where that is known; the bar is of the held-out rows, as ever."""
    few, settings = answers(right(MIN_COMPARED_ROWS - 1, 0.9)), PromotionSettings()
    good, bad = answers(right(250, 0.9)), answers(right(250, 0.6, 1))
    verdict = judge(settings, few, few, (bad, good))
    assert not verdict.promoted
    assert "against the champion's recipe, out of fold, on 250 rows: more than 0.01 behind" in verdict.reason
    assert judge(settings, few, few, (good, bad)).promoted
    assert not judge(settings, None, few[:0], (bad, good)).promoted
    enough = answers(right(300, 0.9))
    assert judge(settings, enough, enough, (bad, good)).promoted
    assert judge(settings, few, few, (bad, good), "it cannot be asked").reason == "it cannot be asked"


def test_only_common_rows_count() -> None:
    """The champion's rows are some of the challenger's: those are compared, in pairs."""
    challenger = answers(np.arange(1000) >= 500)
    champion = answers(np.ones(500, dtype=bool)).set_index(np.arange(500, 1000))
    verdict = judge(PromotionSettings(), challenger, champion)
    assert verdict.promoted
    assert "accuracy +0.0000 [+0.0000, +0.0000] against the champion's on 500 rows" in verdict.reason


@given(st.lists(st.integers(-1, 1), min_size=30, max_size=200))
def test_the_interval_holds_the_mean(differences: list[int]) -> None:
    """Whatever the differences, their mean lies in its interval."""
    low, high = interval(np.array(differences, dtype=float))
    assert low <= np.mean(differences) <= high


def test_the_interval_is_the_textbooks() -> None:
    """For many rows it is that of the normal distribution."""
    differences = np.random.default_rng(1).normal(0.1, 1.0, 2000)
    low, high = interval(differences)
    half = 1.96 * differences.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.005)
