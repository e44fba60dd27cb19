"""Are the products still those that the champion was trained on? Distributions then and now, by the PSI.

The population stability index of two distributions over the same bins is sum((now - then) * ln(now / then)); from 0.1
on people call it a shift, from 0.2 on a large one (Siddiqi, Credit Risk Scorecards, 2006). Of two samples of the same
distribution it is not zero but about (bins - 1) * (1 / n + 1 / m), which is taken off. A numeric feature's bins are
tenths of the training products, a category feature's its values, a text's its length; what is rare is one bin. The
predicted categories are compared, too. What a bin is stands with the model; Spark counts.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from bc4all.data.partition import named
from bc4all.kinds import CATEGORY, NUMERIC, Features
from bc4all.model.features import Matrix

PREDICTED = "predicted categories"  # beside the features' names
PSI_MAX = "psi_max"
_BINS, _VALUES = 10, 200  # of a number, and of a category feature, at most
_FEATURES = 200  # the first ones: of thousands each prediction would count for minutes
_MIN_VALUE_PRODUCTS = 5  # training products of a value that is a bin of its own
_OTHER = "\0other"  # the bin of all others
_MIN_ROWS = 30  # fewer give no distribution
_MAX_VALUE_CHARS = 200  # letters of a value that tell it from others
_FLOOR = 1e-4  # the share that an empty bin counts as: no logarithm of nothing
_MISSING = "-1"
_NAMED = 20  # values that came, or went, at most
_MAX_METRICS = 100  # metrics of a run


@dataclass(frozen=True)
class Drift:
    """The PSI of each feature and of the predicted categories; values of category features that came, or went."""

    psi: Mapping[str, float]
    new: Mapping[str, list[str]]
    vanished: Mapping[str, list[str]]

    def above(self, limit: float) -> list[str]:
        """Return what has drifted beyond a limit, the furthest first."""
        far = sorted((name for name in self.psi if self.psi[name] > limit), key=lambda name: -self.psi[name])
        return [f"{name} {self.psi[name]:.2f}" for name in far]


def profile(X: Matrix, features: Features, predicted: Iterable[str]) -> dict[str, Any]:
    """Return what the training products looked like, as JSON can hold it: counts by bin.

    X (rows, features) of `model_input`; `predicted` the model's best categories of products that it has not learned.
    """
    frame = pd.DataFrame(X, columns=list(features))
    looked_at = list(features.items())[:_FEATURES]
    found: dict[str, Any] = {name: _feature_profile(frame[name], kind) for name, kind in looked_at}
    return {"features": found, "predicted": {"counts": _counts(pd.Series(predicted, dtype=object))}}


def _feature_profile(values: pd.Series, kind: str) -> dict[str, Any]:
    if kind == CATEGORY:
        return {"counts": _counts(values)}
    numbers = (values if kind == NUMERIC else values.str.len()).to_numpy(dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.zeros(0)
    bins = np.where(np.isnan(numbers), int(_MISSING), np.searchsorted(edges, numbers, side="left"))
    return {"edges": edges.tolist(), "counts": pd.Series(bins).astype(str).value_counts().to_dict()}


def _counts(values: pd.Series) -> dict[str, int]:
    """Value -> rows; those of rare ones, and of all beyond many, are one."""
    counts = values.astype(str).str.slice(0, _MAX_VALUE_CHARS).value_counts()
    kept = {str(value): int(count) for value, count in counts.iloc[:_VALUES].items() if count >= _MIN_VALUE_PRODUCTS}
    others = int(counts.sum()) - sum(kept.values())
    return {**kept, _OTHER: others} if others else kept


def compare(stored: Mapping[str, Any], products: DataFrame, features: Features, predicted: Mapping[str, int]) -> Drift:
    """Return how far products to predict, and their best categories (category -> products), are from `profile`."""
    features = {name: kind for name, kind in features.items() if name in stored["features"]}
    then = {name: stored["features"][name]["counts"] for name in features}
    now = _counted(stored["features"], products, features)
    index = {name: psi(then[name], now[name]) for name in features}
    values = [name for name, kind in features.items() if kind == CATEGORY]
    return Drift(
        psi={**index, PREDICTED: psi(stored["predicted"]["counts"], predicted)},
        new={
            name: _unknown(products, name, then[name])
            for name in values
            if now[name].get(_OTHER) and _OTHER not in then[name]
        },
        vanished={name: sorted(set(then[name]) - set(now[name]) - {"", _OTHER})[:_NAMED] for name in values},
    )


def psi(then: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Return the population stability index of two distributions, given as counts by bin, less what chance explains."""
    named = {bin_: now.get(bin_, 0) for bin_ in then if bin_ != _OTHER}
    now = {**named, _OTHER: sum(now.values()) - sum(named.values())}
    bins = [bin_ for bin_ in {**named, _OTHER: 0} if then.get(bin_) or now[bin_]]
    n, m = sum(then.values()), sum(now.values())
    if min(n, m) < _MIN_ROWS:
        return 0.0
    p = np.maximum([then.get(bin_, 0) / n for bin_ in bins], _FLOOR)
    q = np.maximum([now[bin_] / m for bin_ in bins], _FLOOR)
    by_chance = (len(bins) - 1) * (1 / n + 1 / m)
    return max(0.0, float(((q - p) * np.log(q / p)).sum()) - by_chance)


def _counted(stored: Mapping[str, Any], products: DataFrame, features: Features) -> dict[str, dict[str, int]]:
    """Return bin -> products of each feature: one pass over them, and no more bins than there were in training."""
    if not features:
        return {}
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


def _value(column: Column) -> Column:
    return F.substring(F.coalesce(column, F.lit("")), 1, _MAX_VALUE_CHARS)


def _bin(column: Column, kind: str, stored: Mapping[str, Any]) -> Column:
    if kind == CATEGORY:
        known = F.array_contains(F.array(*map(F.lit, stored["counts"])), _value(column))
        return F.when(known, _value(column)).otherwise(F.lit(_OTHER))
    number = column if kind == NUMERIC else F.length(F.coalesce(column, F.lit(""))).cast("double")
    place = F.size(F.filter(F.array(*map(F.lit, stored["edges"])), lambda edge: edge < number))
    return F.when(number.isNull() | F.isnan(number), F.lit(_MISSING)).otherwise(place.cast("string"))


def _unknown(products: DataFrame, name: str, then: Mapping[str, int]) -> list[str]:
    """Values that no training product had, the frequent ones first."""
    value = _value(named(name)).alias("value")
    found = products.select(value).where(~F.col("value").isin(list(then))).groupBy("value").count()
    return [row["value"] for row in found.orderBy(F.desc("count"), "value").limit(_NAMED).collect()]


def drift_metrics(drift: Drift) -> dict[str, float]:
    """Return what MLflow keeps: the largest PSI, and each of the largest ones under a name that it takes."""
    largest = sorted(drift.psi, key=lambda name: -drift.psi[name])[:_MAX_METRICS]
    return {PSI_MAX: max(drift.psi.values()), **{f"psi.{_metric(name)}": drift.psi[name] for name in largest}}


def _metric(name: str) -> str:
    """Return a name without letters that MLflow refuses, or takes for a path.

    Two that would be alike get a digest each.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_MAX_VALUE_CHARS]
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def is_lasting(history: Sequence[float], limit: float, windows: tuple[int, int]) -> bool:
    """Return whether the largest PSI is above a limit, and was so in `windows[0]` of the last `windows[1]`.

    Latest first.
    """
    needed, looked_at = windows
    return bool(history) and history[0] > limit and sum(value > limit for value in history[:looked_at]) >= needed
