"""Are the products still those that the champion was trained on? Distributions then and now, by the PSI.

The population stability index of two distributions over the same bins is sum((now - then) * ln(now / then)); from 0.1
on people call it a shift, from 0.2 on a large one (Siddiqi, Credit Risk Scorecards, 2006). A numeric feature's bins are
tenths of the training products, a category feature's its values, a text's its length; the predicted categories are
compared, too. What a bin is stands in the model; Spark counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from bc4all.features import Matrix
from bc4all.kinds import CATEGORY, NUMERIC, Features
from bc4all.partition import named

PREDICTED = "predicted categories"  # beside the features' names
_BINS, _VALUES = 10, 200  # of a number, and of a category feature, at most
_FEATURES = 200  # the first ones: of thousands each prediction would count for minutes
_OTHER = "other values"
PSI_MAX = "psi_max"
_TOLD = 100  # metrics of a run
_FLOOR = 1e-4  # the share that an empty bin counts as: no logarithm of nothing
_MISSING = -1


@dataclass(frozen=True)
class Drift:
    """The PSI of each feature and of the predicted categories; values of category features that came, or went."""

    psi: Mapping[str, float]
    new: Mapping[str, list[str]]
    vanished: Mapping[str, list[str]]

    def above(self, limit: float) -> list[str]:
        """What has drifted beyond a limit, the furthest first."""
        far = sorted((name for name in self.psi if self.psi[name] > limit), key=lambda name: -self.psi[name])
        return [f"{name} {self.psi[name]:.2f}" for name in far]


def profile(X: Matrix, features: Features, predicted: pd.Series) -> dict[str, Any]:
    """What the training products looked like, as JSON can hold it.

    X (rows, features) of `model_input`; `predicted` the model's best categories of products that it has not learned.
    """
    frame = pd.DataFrame(X, columns=list(features))
    looked_at = list(features.items())[:_FEATURES]
    found: dict[str, Any] = {name: _feature_profile(frame[name], kind) for name, kind in looked_at}
    return {"features": found, "predicted": _shares(predicted)}


def _feature_profile(values: pd.Series, kind: str) -> dict[str, Any]:
    if kind == CATEGORY:
        return {"shares": _shares(values)}
    numbers = (values if kind == NUMERIC else values.str.len()).to_numpy(dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    bins = np.where(np.isnan(numbers), _MISSING, np.searchsorted(edges, numbers, side="left"))
    return {"edges": edges.tolist(), "shares": _shares(pd.Series(bins))}


def _shares(values: pd.Series) -> dict[str, float]:
    """Value -> share of the rows; of very many values those that are frequent, and the others as one."""
    shares = values.astype(str).value_counts(normalize=True)
    kept = {str(value): float(share) for value, share in shares.iloc[:_VALUES].items()}
    return {**kept, _OTHER: float(shares.iloc[_VALUES:].sum())} if len(shares) > _VALUES else kept


def compare(stored: Mapping[str, Any], products: DataFrame, features: Features, predicted: Mapping[str, int]) -> Drift:
    """How far products to predict, and their best categories (category -> products), are from `profile`."""
    features = {name: kind for name, kind in features.items() if name in stored["features"]}
    then = {**{name: stored["features"][name]["shares"] for name in features}, PREDICTED: stored["predicted"]}
    now = {**_counted(stored["features"], products, features), PREDICTED: predicted}
    values = [name for name, kind in features.items() if kind == CATEGORY]
    return Drift(
        psi={name: psi(then[name], now[name]) for name in then},
        new={name: sorted(set(now[name]) - set(then[name]) - {""}) for name in values if _OTHER not in then[name]},
        vanished={name: sorted(set(then[name]) - set(now[name]) - {"", _OTHER}) for name in values},
    )


def psi(then: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The population stability index of two distributions, given as shares or counts by bin."""
    if _OTHER in then:  # what was too rare to be kept is one bin
        named = {bin_: now.get(bin_, 0.0) for bin_ in then}
        now = {**named, _OTHER: sum(now.values()) - sum(named.values())}
    bins = sorted(set(then) | set(now))
    shares = [np.array([counts.get(bin_, 0.0) for bin_ in bins]) for counts in (then, now)]
    p, q = (share / max(share.sum(), _FLOOR) for share in shares)
    p, q = np.maximum(p, _FLOOR), np.maximum(q, _FLOOR)
    return float(((q - p) * np.log(q / p)).sum())


def _counted(stored: Mapping[str, Any], products: DataFrame, features: Features) -> dict[str, dict[str, int]]:
    """Of each feature, bin -> products: one pass over them."""
    pairs = [
        F.struct(F.lit(place).alias("place"), _bin(named(name), kind, stored[name]).alias("bin"))
        for place, (name, kind) in enumerate(features.items())
    ]
    counted = products.select(F.inline(F.array(*pairs))).groupBy("place", "bin").count().collect()
    found: dict[str, dict[str, int]] = {name: {} for name in features}
    names = list(features)
    for row in counted:
        found[names[row["place"]]][row["bin"]] = row["count"]
    return found


def _bin(column: Column, kind: str, stored: Mapping[str, Any]) -> Column:
    if kind == CATEGORY:
        return F.coalesce(column, F.lit(""))
    number = column if kind == NUMERIC else F.length(F.coalesce(column, F.lit(""))).cast("double")
    place = F.size(F.filter(F.array(*map(F.lit, stored["edges"])), lambda edge: edge < number))
    return F.when(number.isNull() | F.isnan(number), F.lit(_MISSING)).otherwise(place).cast("string")


def drift_metrics(drift: Drift) -> dict[str, float]:
    """What MLflow keeps: the largest PSI, and each of the largest ones under a name that it takes."""
    largest = sorted(drift.psi, key=lambda name: -drift.psi[name])[:_TOLD]
    each = {f"psi.{re.sub('[^A-Za-z0-9_ .:/-]', '_', name)[:200]}": drift.psi[name] for name in largest}
    return {PSI_MAX: max(drift.psi.values()), **each}


def is_lasting(history: Sequence[float], limit: float, windows: tuple[int, int]) -> bool:
    """Whether in `windows[0]` of the last `windows[1]` predictions the largest PSI was above a limit; latest first."""
    needed, looked_at = windows
    return sum(value > limit for value in history[:looked_at]) >= needed
