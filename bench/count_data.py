"""Made-up products of many counts: sparse, skewed, of several kinds a category; some are hard to tell apart.

Shaped like a public set of 93 counts, 9 categories and 61,878 products (Otto Group, 2015), which may not be kept here:
the share of zeros, the categories' shares, and how far apart a linear model, a forest and boosted trees are.
"""

import numpy as np
import pandas as pd

ROWS = 61_878
FEATURES = 93
SHARES = (0.03, 0.26, 0.13, 0.04, 0.04, 0.23, 0.05, 0.14, 0.08)
_SEED = 1
_KINDS = 20  # of products, in each category: what a linear model cannot tell apart
_FACTORS = 25  # each lets some counts grow
_COUNTS_A_FACTOR = 6
_OF_CATEGORY, _OF_KIND = 0.2, 0.25  # the chances that a factor is a category's, and that it is a kind's
_GROWTH = 1.55  # of a count's logarithm, a factor
_SPREAD = 0.39  # of a product's factors around its kind's
_LEAST = -3.0  # a count's mean logarithm without factors
_MAX_RATE = 60.0
_ALIKE = (1, 2, 3)  # categories, as places in SHARES: the others move towards the first of them
_NEARNESS = 0.65  # by so much of the way
_MISTAKEN = 0.12  # the share of their products whose label is drawn anew among the three, …
_MISTAKES = (0.6, 0.3, 0.1)  # … with these chances
_ANY_LABEL = 0.02  # the share of all products with any label


def count_products(rows: int = ROWS) -> pd.DataFrame:
    """Return `rows` products: product_id and category_id (str), and counts by the names f0, f1, … (int)."""
    rng = np.random.default_rng(_SEED)
    growth, kinds = _growth(rng), _kinds(rng)
    usual = rng.normal(_LEAST, 0.8, FEATURES)
    chances = rng.dirichlet(np.full(_KINDS, 2.0), len(SHARES))
    shares = np.array(SHARES) / sum(SHARES)
    codes = rng.choice(len(SHARES), rows, p=shares)
    kind = (rng.random(rows)[:, None] > chances[codes].cumsum(axis=1)[:, :-1]).sum(axis=1)
    factors = kinds[codes, kind] + rng.normal(0, _SPREAD, (rows, _FACTORS))
    rates = np.exp(usual + factors.clip(min=0) @ growth).clip(max=_MAX_RATE)
    counts = rng.poisson(rates * rng.exponential(size=rates.shape))  # geometric: many zeros, and a long tail
    mistaken = (rng.random(rows) < _MISTAKEN) & np.isin(codes, _ALIKE)
    codes[mistaken] = rng.choice(_ALIKE, mistaken.sum(), p=_MISTAKES)
    anything = rng.random(rows) < _ANY_LABEL
    codes[anything] = rng.choice(len(SHARES), anything.sum(), p=shares)
    products = pd.DataFrame(counts, columns=[f"f{number}" for number in range(FEATURES)])
    products.insert(0, "product_id", [f"p{number}" for number in range(rows)])
    products.insert(1, "category_id", np.array([f"c{number}" for number in range(1, len(SHARES) + 1)])[codes])
    return products


def _growth(rng: np.random.Generator) -> np.ndarray:
    """By how much each count's logarithm grows with a factor, (factors, counts): mostly not at all."""
    growth = np.zeros((_FACTORS, FEATURES))
    for factor in growth:
        own = rng.choice(FEATURES, _COUNTS_A_FACTOR, replace=False)
        factor[own] = rng.gamma(4, _GROWTH / 4, _COUNTS_A_FACTOR)
    return growth


def _kinds(rng: np.random.Generator) -> np.ndarray:
    """Return the factors of each category's kinds, (categories, kinds, factors)."""
    shape = len(SHARES), _KINDS, _FACTORS
    kinds = (rng.random(shape) < _OF_KIND) * rng.gamma(6, 1.3 / 6, shape)
    own = len(SHARES), _FACTORS
    kinds += ((rng.random(own) < _OF_CATEGORY) * rng.gamma(6, 1.2 / 6, own))[:, None, :]
    first, *others = _ALIKE
    for other in others:
        kinds[other] += _NEARNESS * (kinds[first] - kinds[other])
    return kinds
