"""How far distributions are apart: the index, the bins, and what lasts."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.data.drift import Drift, drift_metrics, is_lasting, psi
from bc4all.model.distribution import profile, standing_for_all

_COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000), min_size=1)


def test_the_index_is_the_textbooks() -> None:
    """A worked example: two bins of 50/50 become 75/25."""
    expected = 0.25 * np.log(0.75 / 0.5) + -0.25 * np.log(0.25 / 0.5)
    by_chance = 1 / 2000 + 1 / 400
    assert psi({"a": 1000, "b": 1000}, {"a": 300, "b": 100}) == pytest.approx(expected - by_chance)


@given(_COUNTS, _COUNTS)
def test_the_index_is_never_negative(then: dict[str, int], now: dict[str, int]) -> None:
    """Whatever the distributions; zero for the same shares."""
    assert psi(then, now) >= 0
    assert psi(then, {name: 7 * count for name, count in then.items()}) == 0


@pytest.mark.parametrize("rows", [100, 500, 5000])
@pytest.mark.parametrize("categories", [2, 20, 60])
def test_samples_of_one_distribution_do_not_drift(rows: int, categories: int) -> None:
    """However small the sample and many the categories, chance alone marks nobody: a held-out tenth, then and now."""
    rng = np.random.default_rng(categories)
    share = 1 / np.arange(1, categories + 1)
    found = []
    for _ in range(50):
        then, now = (rng.choice(categories, size, p=share / share.sum()).astype(str) for size in (rows // 10, rows))
        stored = profile(np.zeros((1, 1)), {"x": "numeric"}, then)["predicted"]["counts"]
        found.append(psi(stored, pd.Series(now).value_counts().to_dict()))
    assert np.median(found) < 0.1
    assert np.mean(np.array(found) > 0.2) < 0.1


def test_held_out_answers_stand_for_the_whole_catalogue() -> None:
    """Of `a` too many are held out, of `c` none: the answers spread as the catalogue's 60, 30 and 10 products would."""
    codes, names = np.repeat([0, 1, 2], [600, 300, 100]), np.array(["a", "b", "c"], dtype=object)
    truth, best = np.repeat([0, 1], [80, 20]), np.repeat(np.array(["a", "b", "b", "a"], dtype=object), [60, 20, 10, 10])
    predicted, weights = standing_for_all(best, truth, codes, names)
    stored = profile(np.zeros((1, 1)), {"x": "numeric"}, predicted, weights)["predicted"]["counts"]
    assert stored == {"a": 60, "b": 30, "c": 10}  # 60 * 6 / 8 + 30 / 2, 60 * 2 / 8 + 30 / 2, 10


def test_chance_moves_variants_together() -> None:
    """Where a fifth of the rows say something of their own, chance explains five times as much; of too few, all."""
    then, now = {"a": 300, "b": 200}, {"a": 3000, "b": 7000}
    assert psi(then, now) - psi(then, now, 100) == pytest.approx(1 / 100 - 1 / 500)
    assert psi(then, now, 29) == 0


def test_rare_values_are_one_bin() -> None:
    """Of thousands of brands the frequent ones are kept; new ones among the others are no drift."""
    brands = pd.DataFrame({"brand": ["big"] * 1000 + [f"small {i}" for i in range(1000)]})
    stored = profile(brands, {"brand": "category"}, ["a"])["features"]["brand"]["counts"]
    assert len(stored) == 2
    assert psi(stored, {"big": 100, **{f"other {i}": 1 for i in range(100)}}) == 0
    assert psi(stored, {"big": 10, "other": 190}) > 0.5


def test_a_number_has_tenths_of_the_training_products() -> None:
    """Tenths, and a bin for what is missing; one value, or none, is one bin."""
    X = np.concatenate([np.arange(1000.0), [np.nan] * 250])[:, None]
    counts = profile(X, {"x": "numeric"}, ["a"])["features"]["x"]["counts"]
    assert counts["-1"] == 250
    assert sorted(counts.values()) == [*[100] * 10, 250]
    for values in (np.zeros((50, 1)), np.full((50, 1), np.nan)):
        assert list(profile(values, {"x": "numeric"}, ["a"])["features"]["x"]["counts"].values()) == [50]


@pytest.mark.parametrize(
    ("history", "lasting"),
    [
        ([0.3, 0.1, 0.3], True),
        ([0.3, 0.1, 0.1, 0.3], False),
        ([0.3], False),
        ([], False),
        ([0.3, 0.3], True),
        ([0.1, 0.3, 0.3], False),
    ],
)
def test_one_odd_day_is_no_drift(history: list[float], lasting: bool) -> None:
    """The present prediction must be above the limit, and one of the two before it."""
    assert is_lasting(history, 0.2, (2, 3)) is lasting


def test_what_is_told_is_the_largest() -> None:
    """The furthest come first; MLflow takes only some letters in a name."""
    drift = Drift({"a": 0.1, "größe": 0.5, "grüße": 0.4, "c//d": 0.3}, {}, {})
    assert drift.above(0.2) == ["größe 0.50", "grüße 0.40", "c//d 0.30"]
    metrics = drift_metrics(drift)
    assert list(metrics.values()) == [0.5, 0.5, 0.4, 0.3, 0.1]
    assert (metrics["psi_max"], metrics["psi.a"]) == (0.5, 0.1)
    assert all(re.fullmatch(r"psi[._][A-Za-z0-9_-]+", name) for name in metrics)
