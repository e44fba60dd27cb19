"""Families of classifiers worth trying, each with the range of its parameters and a default that does well.

A family is a function that asks `suggest` for its parameters and returns a blend's member. `Defaults` answers with the
defaults; the tune job lets Optuna answer. What they are worth: docs/quality.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bc4all.config.estimators import BOOSTING, EXTRA_TREES
from bc4all.config.model_defaults import LINEAR_MODEL, LINEAR_PARAMS, RANDOM_FOREST, text_model
from bc4all.config.model_settings import BlendSettings, MemberSettings
from bc4all.kinds import NUMERIC, TEXT, Features, all_numeric

_SCALE: tuple[str, dict[str, Any]] = ("sklearn.preprocessing.StandardScaler", {})
# Products to predict may lack a number, even where none to learn from does.
_FILL = ("sklearn.impute.SimpleImputer", {"strategy": "median", "keep_empty_features": True})
_MAX_VALUES = 200_000_000  # float64 that a family may make of a client's numbers: 1.6 GB
_MAX_TERMS = 2_000  # of a polynomial
_MIN_LANDMARKS = 100  # of a kernel: fewer tell little
# Measured (docs/quality.md): of 93 counts boosting is the best from 500 products a category on, of five numbers others
# are, with 1,300 products a category, too. A core boosts 700,000 cells a second, in 200 rounds.
_MIN_BOOSTED_FEATURES = 20
_MIN_BOOSTED_ROWS = 500  # a category, on average
_MAX_BOOSTED_CELLS = 150_000_000  # rows x features x categories
_SEED = 1234


class Suggest(Protocol):
    """Who says what a parameter is: each has a name, a default and a range."""

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a positive number, of a range in which factors count, not differences."""

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number, of a range in which factors count."""

    def choice(self, name: str, default: Any, options: Sequence[Any]) -> Any:
        """Return one of some options."""


class Defaults:
    """Says the defaults, and keeps what it said."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return the default."""
        self.said[name] = default
        return default

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return the default."""
        self.said[name] = default
        return default

    def choice(self, name: str, default: Any, options: Sequence[Any]) -> Any:
        """Return the default."""
        self.said[name] = default
        return default


Family = Callable[[Suggest], MemberSettings]


def families(features: Features, rows: int, categories: int) -> dict[str, Family]:
    """Return those that suit a client's features, its rows to fit on, and as many categories."""
    if TEXT in features.values():
        counts = NUMERIC not in features.values()  # as naive Bayes wants them: none is negative
        linear: dict[str, Family] = {"ridge": lambda suggest: _ridge(suggest, text_model(features)), "linear": _linear}
        return {**linear, "bayes": _bayes} if counts else linear
    if not all_numeric(features):
        return {"linear": _linear, "extra_trees": _extra_trees, "forest": _forest, "neural": _network}
    found: dict[str, Family] = {
        "neural": _neural,
        "neural_again": lambda suggest: _neural(suggest, _SEED + 1),  # two of them vote better than the best one
        "extra_trees": _extra_trees,
        "forest": _forest,
        "neighbours": _neighbours,
    }
    degrees = [degree for degree in (2, 3, 4) if rows * _terms(len(features), degree) <= _MAX_VALUES]
    degrees = [degree for degree in degrees if _terms(len(features), degree) <= _MAX_TERMS]
    if degrees:
        found["polynomial"] = lambda suggest: _polynomial(suggest, degrees)
    most = min(1000, _MAX_VALUES // rows)
    if most >= _MIN_LANDMARKS:
        found["kernel"] = lambda suggest: _kernel(suggest, most)
    if _boosting_pays(len(features), rows, categories):
        found["boosting"] = _boosting
    return found


def fixed_list(features: Features, rows: int, categories: int) -> list[tuple[str, MemberSettings]]:
    """Return the candidates of `model: auto`: each family's name, and its member of defaults."""
    return [(name, family(Defaults())) for name, family in families(features, rows, categories).items()]


def _terms(features: int, degree: int) -> int:
    return math.comb(features + degree, degree)


def _kernel(suggest: Suggest, most: int) -> MemberSettings:
    """Logistic regression on similarities (RBF) to some of the products."""
    gamma, landmarks = suggest.number("gamma", 0.1, 0.01, 2.0), suggest.whole("landmarks", min(500, most), 50, most)
    mapped = {"gamma": gamma, "n_components": landmarks, "random_state": _SEED}
    params = {"C": suggest.number("C", 30.0, 0.3, 300.0), "max_iter": 300}
    return MemberSettings(
        classifier=LINEAR_MODEL,
        params=params,
        transform=(_FILL, _SCALE, ("sklearn.kernel_approximation.Nystroem", mapped)),
    )


def _polynomial(suggest: Suggest, degrees: Sequence[int]) -> MemberSettings:
    """Logistic regression on products of features."""
    degree = suggest.choice("degree", 3 if 3 in degrees else degrees[0], degrees)
    transform = (_FILL, _SCALE, ("sklearn.preprocessing.PolynomialFeatures", {"degree": degree}), _SCALE)
    params = {"C": suggest.number("C", 1.0, 0.01, 30.0), "max_iter": 300}
    return MemberSettings(classifier=LINEAR_MODEL, params=params, transform=transform)


def _neural(suggest: Suggest, seed: int = _SEED) -> MemberSettings:
    return _network(suggest, seed).model_copy(update={"transform": (_FILL, _SCALE)})


def _network(suggest: Suggest, seed: int = _SEED) -> MemberSettings:
    """Propose a network of two layers, much restrained."""
    first, second = suggest.whole("first", 200, 50, 400), suggest.whole("second", 100, 20, 200)
    params = {
        "hidden_layer_sizes": [first, second],
        "alpha": suggest.number("alpha", 0.3, 0.01, 3.0),
        "learning_rate_init": suggest.number("learning_rate", 0.002, 0.0005, 0.01),
        "max_iter": suggest.whole("iterations", 40, 15, 100),
        "batch_size": suggest.choice("batch", 256, [128, 256, 512]),
        "random_state": seed,
    }
    return MemberSettings(classifier="sklearn.neural_network.MLPClassifier", params=params)


def _extra_trees(suggest: Suggest) -> MemberSettings:
    return MemberSettings(classifier=EXTRA_TREES, params=_trees(suggest, leaf=3, share=None))


def _forest(suggest: Suggest) -> MemberSettings:
    return MemberSettings(classifier=RANDOM_FOREST, params=_trees(suggest, leaf=5, share="sqrt"))


def _trees(suggest: Suggest, leaf: int, share: str | None) -> dict[str, Any]:
    return {
        "n_estimators": suggest.whole("trees", 200, 50, 500),
        "min_samples_leaf": suggest.whole("leaf", leaf, 1, 30),
        "max_features": suggest.choice("max_features", share, ["sqrt", None]),
        "random_state": _SEED,
    }


def _boosting_pays(features: int, rows: int, categories: int) -> bool:
    enough = features >= _MIN_BOOSTED_FEATURES and rows >= _MIN_BOOSTED_ROWS * categories
    return enough and rows * features * categories <= _MAX_BOOSTED_CELLS


def _boosting(suggest: Suggest) -> MemberSettings:
    """Propose trees that correct one another; each looks at some of the features at a split."""
    params = {
        "learning_rate": suggest.number("learning_rate", 0.1, 0.02, 0.3),
        "max_iter": suggest.whole("iterations", 200, 50, 400),
        "max_leaf_nodes": suggest.whole("leaves", 31, 6, 63),
        "min_samples_leaf": suggest.whole("leaf", 60, 5, 200),
        "l2_regularization": suggest.number("l2", 20.0, 0.1, 50.0),
        "max_features": suggest.number("max_features", 0.3, 0.1, 1.0),
        "early_stopping": False,  # which would keep a tenth of the rows from the trees
        "random_state": _SEED,
    }
    return MemberSettings(classifier=BOOSTING, params=params)


def _neighbours(suggest: Suggest) -> MemberSettings:
    """Propose the votes of the nearest products."""
    params = {
        "n_neighbors": suggest.whole("neighbours", 50, 10, 200),
        "weights": suggest.choice("weights", "distance", ["uniform", "distance"]),
    }
    return MemberSettings(classifier="sklearn.neighbors.KNeighborsClassifier", params=params, transform=(_FILL, _SCALE))


def _linear(suggest: Suggest) -> MemberSettings:
    """Propose what clients with categories and no text have by default."""
    strength, weights = LINEAR_PARAMS["C"], LINEAR_PARAMS["class_weight"]
    chosen = suggest.number("C", strength, 1.0, 1000.0), suggest.choice("class_weight", weights, ["balanced", None])
    return MemberSettings(classifier=LINEAR_MODEL, params={**LINEAR_PARAMS, "C": chosen[0], "class_weight": chosen[1]})


def _ridge(suggest: Suggest, model: BlendSettings) -> MemberSettings:
    """Propose what clients with text have by default: least squares, and the margins of it."""
    (default,) = model.blend
    strength, weights = default.params["alpha"], default.params["class_weight"]
    params = {
        "alpha": suggest.number("alpha", strength, 0.01, 10.0),
        "class_weight": suggest.choice("class_weight", weights, ["balanced", None]),
    }
    return default.model_copy(update={"params": {**default.params, **params}})


def _bayes(suggest: Suggest) -> MemberSettings:
    """Naive Bayes as it is made for text."""
    params = {"alpha": suggest.number("alpha", 0.1, 0.001, 3.0)}
    return MemberSettings(classifier="sklearn.naive_bayes.MultinomialNB", params=params)
