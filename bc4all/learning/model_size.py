"""How large a model will be, from what it is to be fitted on, and whether the driver can hold it: known before the fit.

Estimates for the kinds of models that grow with rows and categories; every other kind passes.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pyspark.sql import SparkSession

from bc4all.learning.heap import heap_bytes
from bc4all.model.forest import is_forest
from bc4all.model.kernel import NODE
from bc4all.model.margins import MarginClassifier
from bc4all.model.preprocessing import split_columns

REMEDY = "give fewer categories, trees or `max_features`, or another `model`"
# Leaves of a fully grown tree, a row that it is fitted on. Measured: 0.25 for a forest over a million made-up products
# of 55 categories (bench-large); rows that tell nothing of their category make 0.6 in a forest, 1.0 without bootstrap.
_LEAVES_A_ROW = 0.5
_DENSE_NODE_BYTES = 64  # of a scikit-learn tree's node, beside its float64 for every category
_HEAPS = 4  # a model may be so many times the driver's heap: its pieces then still go through it (measured: twice)
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Room(NamedTuple):
    """The most bytes that a model may take, and what sets that limit."""

    limit: int
    of: str


def driver_room(spark: SparkSession) -> Room:
    """Return the room that the driver has for models."""
    return min(Room(_HEAPS * heap_bytes(spark), "--driver-memory"), Room(memory_bytes() // 2, "the driver's memory"))


def refusal(room: Room, estimators: Sequence[Any], rows: int, categories: int, X: Any) -> str:
    """Why the driver cannot hold what the unfitted estimators will be together; "" where it can, or nothing is known.

    `rows` of X, (all rows, features), are to be fitted on.
    """
    size = sum(estimated_bytes(estimator, rows, categories, X) for estimator in estimators)
    if size <= room.limit:
        growing = max((_growing_tree_bytes(estimator, rows, categories) for estimator in estimators), default=0)
        if growing <= (there := memory_bytes()) // 2:
            return ""
        told = f"a tree of about {_shown(growing)} while it grows is more than half the {_shown(there)} of this machine"
        return f"{told}: limit `max_depth` or `min_samples_leaf`, or {REMEDY}"
    told = f"a model of about {_shown(size)} is more than the {_shown(room.limit)} that {room.of} allows"
    return f"{told}: raise {room.of}, or {REMEDY}"


def memory_bytes() -> int:
    """Return the memory of this machine, or of this container where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:  # another system, or no container
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def estimated_bytes(estimator: Any, rows: int, categories: int, X: Any) -> int:
    """About how many bytes an unfitted estimator will take once it is fitted; 0 where that is not known."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model._base import LinearClassifierMixin
    from sklearn.naive_bayes import ComplementNB, MultinomialNB
    from sklearn.tree import DecisionTreeClassifier

    columns, classifier = split_columns(estimator)
    classifier = classifier.classifier if isinstance(classifier, MarginClassifier) else classifier
    margins = categories if categories > 2 else 1
    if isinstance(classifier, RandomForestClassifier | ExtraTreesClassifier | DecisionTreeClassifier):
        compact = is_forest(classifier) and not (columns is not None and _vectorizers(columns))
        node = NODE.itemsize if compact else categories * 8 + _DENSE_NODE_BYTES
        return int(_nodes(classifier, rows) * getattr(classifier, "n_estimators", 1) * node)
    if columns is None:  # of numbers alone: as many terms as features, which is never much
        return 0
    if isinstance(classifier, LinearClassifierMixin):
        return _terms(columns, X) * margins * 4
    if isinstance(classifier, ComplementNB | MultinomialNB):
        return _terms(columns, X) * categories * 16  # counts and logarithms
    return 0


def _growing_tree_bytes(estimator: Any, rows: int, categories: int) -> int:
    """About how many bytes scikit-learn takes for one tree: a number of each category a node, twice as it grows."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    _, classifier = split_columns(estimator)
    if not isinstance(classifier, RandomForestClassifier | ExtraTreesClassifier | DecisionTreeClassifier):
        return 0
    return int(2 * _nodes(classifier, rows) * (categories * 8 + _DENSE_NODE_BYTES))


def _nodes(tree: Any, rows: int) -> float:
    """Return the expected nodes of one tree that is fitted on so many rows."""
    least, parent = tree.min_samples_leaf, tree.min_samples_split
    leaves = [rows * _LEAVES_A_ROW]
    # Restrained leaves are seldom as small as they may be: half as large again (measured).
    leaves.append((rows / least if isinstance(least, int) else 1 / least) / 1.5)
    leaves.append(2 * rows / parent if isinstance(parent, int) else 2 / parent)
    if tree.max_leaf_nodes is not None:
        leaves.append(tree.max_leaf_nodes)
    if tree.max_depth is not None:
        leaves.append(2.0 ** min(tree.max_depth, 64))
    return 2 * min(leaves)


def _vectorizers(columns: Any) -> list[tuple[Any, list[str]]]:
    """Return the parts that make terms of text, each with its columns."""
    parts = ((part, names) for _, part, names in columns.transformers if hasattr(part, "ngram_range"))
    return [(part, [names] if isinstance(names, str) else names) for part, names in parts]


def _terms(columns: Any, X: pd.DataFrame) -> int:
    """At most so many columns are made of those of X."""
    total = 0
    for part, names in _vectorizers(columns):
        shortest, longest = part.ngram_range
        letters = sum(int(X[name].str.len().sum()) + len(X) for name in names)  # and what stands between
        seen = 2 * (longest - shortest + 1) * letters  # each n-gram, and its shape
        total += min(seen, part.max_features or seen)
    for _, part, names in columns.transformers:
        if hasattr(part, "categories"):
            total += sum(X[name].nunique() for name in names)
        elif not hasattr(part, "ngram_range"):
            total += 2 * len(names)  # each number, and whether it is missing
    return total


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, size // 10**6)} MB"
