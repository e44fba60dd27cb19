"""Are the products still those that the champion was trained on? Distributions then and now, by the PSI.

The population stability index of two distributions over the same bins is sum((now - then) * ln(now / then)); from 0.1
on people call it a shift, from 0.2 on a large one (Siddiqi, Credit Risk Scorecards, 2006). Of two samples of the same
distribution it is not zero but about (bins - 1) * (1 / n + 1 / m), which is taken off. `model/distribution` says what a
bin is, and a version keeps its own. The predicted categories are compared, too.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bc4all.kinds import CATEGORY, Features
from bc4all.model.distribution import OTHER, BinCounter

PREDICTED = "predicted categories"  # beside the features' names
PSI_MAX = "psi_max"
_MIN_ROWS = 30  # fewer give no distribution
_FLOOR = 1e-4  # the share that an empty bin counts as: no logarithm of nothing
_NAMED = 20  # values that came, or went, at most
_MAX_METRICS = 100  # metrics of a run
_MAX_METRIC_CHARS = 200  # of a metric's name


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


def bin_counter(stored: Mapping[str, Any], features: Features) -> BinCounter:
    """Return what counts products of `features` for `compare`, by the `profile` that is stored."""
    counted = {name: kind for name, kind in features.items() if name in stored["features"]}
    return BinCounter(counted, stored["features"])


def compare(
    stored: Mapping[str, Any],
    bins: Iterable[tuple[str, str, bool, int]],
    counter: BinCounter,
    predicted: Mapping[str, int],
) -> Drift:
    """Return how far products to predict, and their best categories (category -> products), are from `profile`.

    `bins` is what `counter` has counted of them.
    """
    features = counter.features
    then = {name: stored["features"][name]["counts"] for name in features}
    now: dict[str, dict[str, int]] = {name: {} for name in features}
    new: dict[str, dict[str, int]] = {name: {} for name in features}
    for name, bin_, is_new, products in bins:
        (new if is_new else now)[name][bin_] = products
    answers = stored["predicted"]
    index = {name: psi(then[name], now[name]) for name in features}
    values = [name for name, kind in features.items() if kind == CATEGORY]
    return Drift(
        psi={**index, PREDICTED: psi(answers["counts"], predicted, answers.get("distinct"))},
        new={name: _frequent(new[name]) for name in values if now[name].get(OTHER) and OTHER not in then[name]},
        vanished={name: sorted(set(then[name]) - set(now[name]) - {"", OTHER})[:_NAMED] for name in values},
    )


def _frequent(counts: Mapping[str, int]) -> list[str]:
    """Return the values of most products."""
    return sorted(counts, key=lambda value: (-counts[value], value))[:_NAMED]


def psi(then: Mapping[str, int], now: Mapping[str, int], distinct: int | None = None) -> float:
    """Return the population stability index of two distributions, given as counts by bin, less what chance explains.

    `distinct` of `then` say something of their own, by default all: chance moves variants of a product together.
    """
    named = {bin_: now.get(bin_, 0) for bin_ in then if bin_ != OTHER}
    now = {**named, OTHER: sum(now.values()) - sum(named.values())}
    bins = [bin_ for bin_ in {**named, OTHER: 0} if then.get(bin_) or now[bin_]]
    n, m = sum(then.values()), sum(now.values())
    independent = distinct or n
    if min(independent, m) < _MIN_ROWS:
        return 0.0
    p = np.maximum([then.get(bin_, 0) / n for bin_ in bins], _FLOOR)
    q = np.maximum([now[bin_] / m for bin_ in bins], _FLOOR)
    by_chance = (len(bins) - 1) * (1 / independent + 1 / m)
    return max(0.0, float(((q - p) * np.log(q / p)).sum()) - by_chance)


def drift_metrics(drift: Drift) -> dict[str, float]:
    """Return what MLflow keeps: the largest PSI, and each of the largest ones under a name that it takes."""
    largest = sorted(drift.psi, key=lambda name: -drift.psi[name])[:_MAX_METRICS]
    return {PSI_MAX: max(drift.psi.values()), **{f"psi.{_metric(name)}": drift.psi[name] for name in largest}}


def _metric(name: str) -> str:
    """Return a name without letters that MLflow refuses, or takes for a path.

    Two that would be alike get a digest each.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_MAX_METRIC_CHARS]
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def is_lasting(history: Sequence[float], limit: float, windows: tuple[int, int]) -> bool:
    """Return whether the largest PSI is above a limit, and was so in `windows[0]` of the last `windows[1]`.

    Latest first.
    """
    needed, looked_at = windows
    return bool(history) and history[0] > limit and sum(value > limit for value in history[:looked_at]) >= needed
