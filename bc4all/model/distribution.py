"""How the values of features spread over bins: of the training products, and, by the same bins, of others.

A numeric feature's bins are tenths of the training products, a category feature's its values, a text's its length; what
is rare is one bin.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bc4all.kinds import CATEGORY, NUMERIC, Features
from bc4all.model.features import Matrix

_FEATURES = 200  # the first ones: of thousands each prediction would count for minutes
OTHER = "\0other"  # the bin of all others
_MISSING = -1  # the bin of numbers that are missing
_NUMBER_BINS, _MAX_VALUES = 10, 200  # of a number, and of a category feature
_MIN_VALUE_PRODUCTS = 5  # training products of a value that is a bin of its own
_MAX_VALUE_CHARS = 200  # of a value that tell it from others
_MAX_NEW_VALUES = 100  # of a feature in what a task counts at once, the frequent ones: others are not named


def profile(
    X: Matrix,
    features: Features,
    predicted: Iterable[str],
    weights: np.ndarray | None = None,
    distinct: int | None = None,
) -> dict[str, Any]:
    """Return what the training products looked like, as JSON can hold it: counts by bin.

    X (rows, features) of `model_input`; `predicted` the model's best categories of products that it has not learned,
    how much each of them counts, 1 by default, and how many are `distinct`, by default all: the others are variants.
    """
    frame = pd.DataFrame(X, columns=list(features))
    looked_at = list(features.items())[:_FEATURES]
    found: dict[str, Any] = {name: feature_profile(frame[name], kind) for name, kind in looked_at}
    counts = value_counts(pd.Series(predicted, dtype=object), weights)
    return {"features": found, "predicted": {"counts": counts, "distinct": distinct or sum(counts.values())}}


def standing_for_all(
    predicted: np.ndarray, truth: np.ndarray, codes: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return best categories that spread as those of the whole catalogue would, and how much each of them counts.

    predicted (held-out rows,) are a model's best categories of rows whose true ones are `truth`; codes (rows,) those of
    all rows, numbers of `names`. Variants of a product are held out together: of some categories too many rows are, of
    others too few. So each row stands for its share of its category (Holt and Smith, Post stratification, 1979), and a
    category without a held-out row for itself. In all they count as many as are held out.
    """
    every, held_out = (np.bincount(some, minlength=len(names)) for some in (codes, truth))
    missing = np.flatnonzero((held_out == 0) & (every > 0))
    weights = np.concatenate([every[truth] / held_out[truth], every[missing]])
    return np.concatenate([np.asarray(predicted, dtype=object), names[missing]]), weights * len(truth) / len(codes)


def feature_profile(values: pd.Series, kind: str) -> dict[str, Any]:
    """Return what a feature's values in training looked like, as JSON can hold it: counts by bin, a number's edges."""
    if kind == CATEGORY:
        return {"counts": value_counts(values)}
    numbers = _numbers(values, kind)
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _NUMBER_BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    return {"edges": edges.tolist(), "counts": dict(_count_numbers(numbers, edges))}


def value_counts(values: pd.Series, weights: np.ndarray | None = None) -> dict[str, int]:
    """Value -> rows, or their weights; those of rare ones, and of all beyond many, are one."""
    counts = _texts(values).value_counts()
    if weights is not None:
        summed = pd.Series(weights).groupby(_texts(values).to_numpy()).sum()
        counts = summed.round().astype(int).sort_values(ascending=False, kind="stable")
    kept = {
        str(value): int(count) for value, count in counts.iloc[:_MAX_VALUES].items() if count >= _MIN_VALUE_PRODUCTS
    }
    others = int(counts.sum()) - sum(kept.values())
    return {**kept, OTHER: others} if others else kept


@dataclass(frozen=True)
class BinCounter:
    """Counts products by the bins of their training: what Spark's tasks run on what they read.

    `profiles` has the `feature_profile` of each feature that is counted.
    """

    features: Features
    profiles: Mapping[str, Mapping[str, Any]]

    def __call__(self, frame: pd.DataFrame) -> Iterator[tuple[str, str, bool, int]]:
        """Yield each feature's bins that are not empty: name, bin, whether it is of values new since then, products."""
        for name, kind in self.features.items():
            profile, new = self.profiles[name], Counter[str]()
            if kind == CATEGORY:
                bins, new = _count_values(frame[name], profile["counts"])
            else:
                bins = _count_numbers(_numbers(frame[name], kind), np.asarray(profile["edges"]))
            yield from ((name, value, False, products) for value, products in bins.items())
            yield from ((name, value, True, products) for value, products in new.most_common(_MAX_NEW_VALUES))


def _numbers(values: pd.Series, kind: str) -> np.ndarray:
    """Return what is compared of a number or a text: its length."""
    numbers = values if kind == NUMERIC else values.fillna("").str.len()
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _count_numbers(numbers: np.ndarray, edges: np.ndarray) -> "Counter[str]":
    bins = np.where(np.isnan(numbers), _MISSING, np.searchsorted(edges, numbers, side="left"))
    places, counts = np.unique(bins, return_counts=True)
    return Counter(dict(zip(places.astype(str).tolist(), counts.tolist(), strict=True)))


def _texts(values: pd.Series) -> pd.Series:
    return values.fillna("").astype(str).str.slice(0, _MAX_VALUE_CHARS)


def _count_values(values: pd.Series, profile: Mapping[str, int]) -> tuple["Counter[str]", "Counter[str]"]:
    """Return the products by bin, and, of the bin of all others, by value."""
    counts = {str(value): int(count) for value, count in _texts(values).value_counts().items()}
    new = Counter({value: count for value, count in counts.items() if value not in profile})
    known = Counter({value: count for value, count in counts.items() if value in profile})
    return known + Counter({OTHER: new.total()}), new
