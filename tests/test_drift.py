"""How far distributions are apart: the index, the bins, and what lasts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.drift import Drift, drift_metrics, is_lasting, profile, psi

_COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000), min_size=1)


def test_the_index_is_the_textbooks() -> None:
    """A worked example: two bins of 50/50 become 75/25."""
    expected = 0.25 * np.log(0.75 / 0.5) + -0.25 * np.log(0.25 / 0.5)
    assert psi({"a": 0.5, "b": 0.5}, {"a": 300, "b": 100}) == pytest.approx(expected)


@given(_COUNTS, _COUNTS)
def test_the_index_is_a_distance(then: dict[str, int], now: dict[str, int]) -> None:
    """Never negative, zero for the same shares, the same in both directions, whatever the totals."""
    assert psi(then, now) >= 0
    assert psi(then, now) == pytest.approx(psi(now, then))
    assert psi(then, {name: 7 * count for name, count in then.items()}) == pytest.approx(0, abs=1e-12)


def test_rare_values_are_one_bin() -> None:
    """Of thousands of brands the frequent ones are kept; new ones among the others are no drift."""
    brands = pd.Series(["big"] * 1000 + [f"small {i}" for i in range(1000)])
    stored = profile(pd.DataFrame({"brand": brands}), {"brand": "category"}, brands)["features"]["brand"]["shares"]
    assert len(stored) == 201
    now = {"big": 100, **{f"other {i}": 1 for i in range(100)}}
    assert psi(stored, now) < 0.2  # of 199 small ones that are kept, none is there any more
    assert psi(stored, {"big": 10, "other": 190}) > 0.5


def test_a_number_has_tenths_of_the_training_products() -> None:
    """Tenths, and a bin for what is missing; one value, or none, is one bin."""
    X = np.concatenate([np.arange(1000.0), [np.nan] * 250])[:, None]
    shares = profile(X, {"x": "numeric"}, pd.Series(["a"]))["features"]["x"]["shares"]
    assert shares["-1"] == 0.2
    assert sorted(shares.values()) == pytest.approx([0.08] * 10 + [0.2])
    for values in (np.zeros((50, 1)), np.full((50, 1), np.nan)):
        assert list(profile(values, {"x": "numeric"}, pd.Series(["a"]))["features"]["x"]["shares"].values()) == [1.0]


@pytest.mark.parametrize(
    ("history", "lasting"),
    [([0.3, 0.1, 0.3], True), ([0.3, 0.1, 0.1, 0.3], False), ([0.3], False), ([], False), ([0.3, 0.3], True)],
)
def test_one_odd_day_is_no_drift(history: list[float], lasting: bool) -> None:
    """Two of the last three predictions must be above the limit."""
    assert is_lasting(history, 0.2, (2, 3)) is lasting


def test_what_is_told_is_the_largest() -> None:
    """The furthest come first; MLflow takes only some letters in a name."""
    drift = Drift({"a": 0.1, "pri€e": 0.5, "c": 0.3}, {}, {})
    assert drift.above(0.2) == ["pri€e 0.50", "c 0.30"]
    assert drift_metrics(drift) == {"psi_max": 0.5, "psi.pri_e": 0.5, "psi.c": 0.3, "psi.a": 0.1}
