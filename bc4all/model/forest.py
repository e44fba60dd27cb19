"""`CompactForest`: a random forest as plain arrays, with scikit-learn's answers to the last bit, or smoothed.

scikit-learn keeps a float64 for every category in every node; here a node is 12 bytes, because nearly every leaf of a
fully grown forest holds one category. `forest_file` writes, reads and checks its file, `kernel` scores rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bc4all.errors import ModelError
from bc4all.model import kernel
from bc4all.model.kernel import LEAF, MISSING_RIGHT, NODE, WALKING

_BLOCK = 16384  # rows that go down all trees before the next: each block fetches the whole forest from memory anew
_SUMS_BYTES = 128 << 10  # of the rows whose probabilities are ranked at a time


@dataclass(frozen=True, eq=False, repr=False)
class CompactForest:
    """A fitted RandomForestClassifier or ExtraTreesClassifier; a scikit-learn classifier to scikit-learn's metrics.

    `nodes` (see `kernel.NODE`) in breadth-first order tree by tree, children as places in `nodes`; tree t has the nodes
    from `tree_starts[t]` to `tree_starts[t + 1]`. Mixed leaves list their categories and weights between
    `mixed_starts[i]` and `mixed_starts[i + 1]`. `importances` (trees, features) is each tree's own, NaN for a tree of
    one leaf, which scikit-learn leaves out of the mean. `smoothing`: votes that are spread evenly over the categories,
    beside the trees' own.
    """

    nodes: np.ndarray
    tree_starts: np.ndarray
    mixed_starts: np.ndarray
    mixed_categories: np.ndarray
    mixed_weights: np.ndarray
    importances: np.ndarray
    classes_: np.ndarray
    names: tuple[str, ...] | None = None
    smoothing: float = 0.0

    @classmethod
    def from_sklearn(cls, model: Any) -> "CompactForest":
        """Return the compact form of a fitted forest with one output. Raises ModelError for any other model."""
        trees = getattr(model, "estimators_", None)
        single = getattr(model, "n_outputs_", None) == 1 and hasattr(model, "classes_")
        if not single or not trees or not all(hasattr(tree, "tree_") for tree in trees):
            raise ModelError(f"{type(model).__name__} is not a fitted forest of one output", remedy="fit one first")
        names = getattr(model, "feature_names_in_", None)
        classes = np.asarray(model.classes_)
        parts = [_compact_tree(tree.tree_, len(classes)) for tree in trees]
        importances = [
            tree.tree_.compute_feature_importances()
            if tree.tree_.node_count > 1
            else np.full(model.n_features_in_, np.nan)
            for tree in trees
        ]
        return cls(
            **_joined(parts, len(classes)),
            importances=np.array(importances, dtype=np.float64),
            classes_=classes,
            names=None if names is None else tuple(str(name) for name in names),
        )

    @classmethod
    def merge(cls, forests: Sequence["CompactForest"]) -> "CompactForest":
        """Return one forest with the trees of all, in order. Raises ModelError unless categories and features agree."""
        if not forests:
            raise ModelError("there is no forest to merge")
        first = forests[0]
        for other in forests[1:]:
            alike = np.array_equal(first.classes_, other.classes_) and first.n_features_in_ == other.n_features_in_
            if not alike or first.names != other.names:
                raise ModelError("forests of other categories or features cannot be merged")
        parts = [(f.nodes, f.tree_starts, f.mixed_starts, f.mixed_categories, f.mixed_weights) for f in forests]
        return cls(
            **_joined(parts, len(first.classes_)),
            importances=np.concatenate([forest.importances for forest in forests]),
            classes_=first.classes_,
            names=first.names,
        )

    @property
    def n_trees(self) -> int:
        """How many trees there are."""
        return len(self.tree_starts) - 1

    @property
    def n_features_in_(self) -> int:
        """How many features a row has."""
        return int(self.importances.shape[1])

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The features' names; AttributeError, as scikit-learn has it, where the forest was fitted without."""
        if self.names is None:
            raise AttributeError("this forest was fitted without feature names")
        return np.array(self.names, dtype=object)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Mean decrease in impurity, (features,), summing to 1 unless every tree is a single leaf."""
        grown = self.importances[~np.isnan(self.importances).any(axis=1)]
        if not len(grown):
            return np.zeros(self.n_features_in_)
        mean = np.asarray(np.mean(grown, axis=0, dtype=np.float64))
        return np.asarray(mean / np.sum(mean))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays in memory."""
        arrays = (self.nodes, self.tree_starts, self.mixed_starts, self.mixed_categories, self.mixed_weights)
        return sum(array.nbytes for array in (*arrays, self.importances))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (rows, classes), float64: the mean of the trees' leaf values, smoothed.

        X is (rows, features), compared as float32; NaN is a missing value. Raises ValueError for another shape or an
        infinite value.
        """
        rows = self._checked(X)
        sums = np.zeros((len(rows), len(self.classes_)))
        for start, leaves in self._leaves(rows):
            self._add(leaves, 0, sums[start : start + leaves.shape[1]])
        sums += self.smoothing / len(self.classes_)
        sums /= self.n_trees + self.smoothing
        return sums

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable category of each row, (rows,)."""
        best, _ = self.top_k(X, 1)
        return np.asarray(self.classes_[best[:, 0]])

    def top_k(self, X: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's k most probable categories (int32 places in `classes_`) and their probabilities (float32).

        Both (rows, min(k, classes)); equal probabilities in the order of `classes_`. Raises as `predict_proba`.
        """
        rows = self._checked(X)
        shape = len(rows), min(k, len(self.classes_))
        indices, scores = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        step = max(16, _SUMS_BYTES // (8 * len(self.classes_)))
        for start, leaves in self._leaves(rows):
            for at in range(0, leaves.shape[1], step):
                sums = np.zeros((min(step, leaves.shape[1] - at), len(self.classes_)))
                self._add(leaves, at, sums)
                block = slice(start + at, start + at + len(sums))
                kernel.best_k(sums, self.n_trees, self.smoothing, indices[block], scores[block])
        return indices, scores

    def _leaves(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of rows: the place of the first, and what the leaves hold that they reach, (trees, rows)."""
        missing, room = bool(np.isnan(rows).any()), np.empty((2, WALKING), dtype=np.uint32)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            leaves = np.empty((self.n_trees, len(block)), dtype=np.uint32)
            kernel.find_leaves(self.nodes, self.tree_starts[:-1], block, missing, leaves, *room)
            yield start, leaves

    def unseen_votes(self, X: Any, truth: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the trees that have not seen a row give its true category, and how many trees those are.

        X (rows, features); truth (rows,), places in `classes_`; seen bool (trees, rows). Both are float64 (rows,).
        Raises as `predict_proba`.
        """
        rows = self._checked(X)
        votes, trees = np.zeros((2, len(rows)))
        mixed = self.mixed_starts, self.mixed_categories, self.mixed_weights
        for start, leaves in self._leaves(rows):
            block = slice(start, start + leaves.shape[1])
            asked = np.ascontiguousarray(seen[:, block]), truth[block].astype(np.uint32), len(self.classes_)
            kernel.add_unseen_votes(leaves, *asked, *mixed, votes[block], trees[block])
        return votes, trees

    def _add(self, leaves: np.ndarray, first: int, sums: np.ndarray) -> None:
        kernel.add_leaf_values(leaves, first, self.mixed_starts, self.mixed_categories, self.mixed_weights, sums)

    def _checked(self, X: Any) -> np.ndarray:
        values = np.asarray(X)
        if values.ndim != 2 or values.shape[1] != self.n_features_in_:
            raise ValueError(f"X has the shape {values.shape} where (rows, {self.n_features_in_}) is expected")
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(values, dtype=np.float32)
        if np.isinf(rows).any():
            raise ValueError("X contains infinity or a value too large for float32")
        return rows

    def __repr__(self) -> str:
        return f"CompactForest({self.n_trees} trees, {len(self.nodes)} nodes, {len(self.classes_)} classes)"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        tags = Tags(estimator_type="classifier", target_tags=TargetTags(required=True), input_tags=InputTags())
        tags.classifier_tags = ClassifierTags()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True


def is_forest(estimator: Any) -> bool:
    """Return whether it is a forest of scikit-learn's whose trees can be fitted apart, and kept as compact arrays."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    plain = type(estimator) in (ExtraTreesClassifier, RandomForestClassifier)
    return plain and not estimator.oob_score and not estimator.warm_start


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _compact_tree(tree: Any, n_classes: int) -> _Arrays:
    """Return one scikit-learn tree as the arrays of a forest of one tree, in breadth-first order."""
    left, right = tree.children_left, tree.children_right
    order, frontier = [np.zeros(1, dtype=np.int64)], np.zeros(1, dtype=np.int64)
    while len(frontier):
        inner = frontier[left[frontier] >= 0]
        frontier = np.column_stack([left[inner], right[inner]]).ravel()
        order.append(frontier)
    places = np.concatenate(order)
    leaf = left[places] < 0
    held, mixed_starts, mixed_categories, mixed_weights = _leaf_values(tree.value[places[leaf], 0, :], n_classes)
    nodes = np.zeros(len(places), dtype=NODE)
    nodes["child"][~leaf] = 1 + 2 * np.arange((~leaf).sum())  # in breadth-first order
    nodes["child"][leaf] = held
    nodes["threshold"] = np.where(leaf, np.float32(0), _rounded_down(tree.threshold[places]))
    missing_right = tree.missing_go_to_left[places] == 0
    nodes["tag"] = np.where(leaf, LEAF, tree.feature[places] | np.where(missing_right, MISSING_RIGHT, 0))
    return nodes, np.array([0, len(nodes)], dtype=np.int64), mixed_starts, mixed_categories, mixed_weights


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """float64 thresholds as the largest float32 not above: `x <= threshold` stays the same for every float32 x."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)


def _leaf_values(values: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what leaves with `values` (leaves, classes) hold, and the table of those of more than one category."""
    category = values.argmax(axis=1)
    some = values != 0
    pure = (some.sum(axis=1) == 1) & (values[np.arange(len(values)), category] == 1.0)
    mixed = ~pure
    held = np.where(pure, category, 0)
    held[mixed] = n_classes + np.arange(mixed.sum())
    rows, categories = np.nonzero(some[mixed])
    starts = np.concatenate([[0], np.cumsum(some[mixed].sum(axis=1))]).astype(np.int64)
    return held, starts, categories.astype(np.int32), values[mixed][rows, categories]


def _joined(parts: Sequence[_Arrays], n_classes: int) -> dict[str, Any]:
    """Return the arrays of several forests as those of one: places shifted behind the ones before."""
    total = sum(len(part[0]) for part in parts)
    if total > np.iinfo(np.int32).max:
        raise ModelError(f"a forest of {total} nodes is too large", remedy="train fewer or smaller trees")
    nodes = np.concatenate([part[0] for part in parts])
    n_nodes = n_mixed = n_entries = 0
    tree_starts, mixed_starts = [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    for part_nodes, part_trees, part_mixed, *_ in parts:
        view = nodes[n_nodes : n_nodes + len(part_nodes)]
        leaf, mixed = view["tag"] == LEAF, view["child"] >= n_classes
        view["child"] += np.where(leaf, np.where(mixed, n_mixed, 0), n_nodes).astype(np.uint32)
        tree_starts.append(part_trees[1:] + n_nodes)
        mixed_starts.append(part_mixed[1:] + n_entries)
        n_nodes, n_mixed, n_entries = (
            n_nodes + len(view),
            n_mixed + len(part_mixed) - 1,
            n_entries + int(part_mixed[-1]),
        )
    return {
        "nodes": nodes,
        "tree_starts": np.concatenate(tree_starts),
        "mixed_starts": np.concatenate(mixed_starts),
        "mixed_categories": np.concatenate([part[3] for part in parts]),
        "mixed_weights": np.concatenate([part[4] for part in parts]),
    }
