# mypy: disable-error-code="no-untyped-def"
# numba infers the types of what it compiles; the docstrings give them.
"""Rows x forest -> summed leaf values and the best k of them, compiled by numba.

What makes it fast: a node is one 12-byte record and its children are neighbours; a step down has no branch
(`child + (x > threshold)`); two thousand rows take a step each before any takes the next, so that many loads are under
way at once, and the rows that reached a leaf drop out; trees are the outer loop, so that a tree stays in the cache
while a block of rows passes through it. For
that reason the leaves' values are added in a second pass: sums touched row by row would push the tree out.

Nothing here checks an index: `forest_file` has, for every forest that was not made in this process.
"""

import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

NODE = np.dtype([("threshold", "<f4"), ("child", "<u4"), ("tag", "<u4")])
"""A node. Inner: x[tag & FEATURE] <= threshold goes to `child`, else to `child + 1`; a missing x goes right where tag
has the bit MISSING_RIGHT. Leaf: tag is LEAF, and `child` its category or, from n_classes on, n_classes + its place in
the table of mixed leaves."""

LEAF = 1 << 31
MISSING_RIGHT = 1 << 30
FEATURE = MISSING_RIGHT - 1

WALKING = 2048  # rows that go down a tree together: with what is known of them they fit the L1 cache, or nearly
_ADDING = 64  # rows whose leaf values are added together: their sums fit the L1 cache


def compile_cached(function: Callable[..., Any]) -> Any:
    """Compile on first use, and keep the machine code where numba finds a folder for it, be it beside a zip."""
    if _has_cache(function):
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return numba.njit(nogil=True, error_model="numpy")(function)  # each worker compiles for itself


def _has_cache(function: Callable[..., Any]) -> bool:
    """Return whether numba can write what it compiles: where it only thinks so, the first call would fail."""
    try:
        folder = str(numba.njit(cache=True)(function).stats.cache_path)
        os.makedirs(folder, exist_ok=True)
    except (RuntimeError, OSError):  # RuntimeError: numba knows no folder for this file
        return False
    return os.access(folder, os.W_OK)


# Indices are unsigned throughout: numba would otherwise look whether each counts from the end.


@compile_cached
def find_leaves(nodes, roots, X, missing, leaves, places, walking):
    """Write what the leaf that each row reaches in each tree holds (`child` of NODE).

    nodes (n,) NODE; roots (trees,) int64; X (rows, features) float32, contiguous; `missing`: whether X has a NaN;
    leaves (trees, rows) uint32 is filled. `places` and `walking`, (WALKING,) uint32, are room to work in: to allocate
    here would add a fifth to the time of compiling.
    """
    for tree in range(len(roots)):
        for start in range(0, X.shape[0], len(places)):
            n = np.uint64(min(len(places), X.shape[0] - start))
            for i in range(n):
                places[i], walking[i] = roots[tree], start + i
            while n > np.uint64(0):
                still = np.uint64(0)
                for i in range(n):
                    node, row = nodes[np.uint64(places[i])], np.uint64(walking[i])
                    tag, child = node.tag, node.child  # before anything is written, which could be the same memory
                    x = X[row, np.uint64(tag & np.uint32(FEATURE))]
                    right = x > node.threshold
                    if missing:
                        right |= (x != x) & ((tag & np.uint32(MISSING_RIGHT)) != 0)
                    leaves[tree, row] = child  # the leaf's is written last, and stays
                    places[still], walking[still] = child + np.uint32(right), row
                    still += np.uint64(tag < np.uint32(LEAF))
                n = still


@compile_cached
def add_leaf_values(leaves, first, mixed_starts, mixed_categories, mixed_weights, sums):
    """Add the leaf values of the rows from `first` on to `sums`, tree by tree, as scikit-learn does.

    leaves (trees, all rows) of `find_leaves`; the mixed leaves' categories and weights lie between their starts; sums
    (rows, classes) float64.
    """
    rows, classes = sums.shape
    for start in range(0, rows, _ADDING):
        stop = min(start + _ADDING, rows)
        for tree in range(leaves.shape[0]):
            for row in range(np.uint64(start), np.uint64(stop)):
                leaf = leaves[np.uint64(tree), np.uint64(first) + row]
                if leaf < np.uint32(classes):
                    sums[row, np.uint64(leaf)] += 1.0
                else:
                    mixed = leaf - np.uint32(classes)
                    for at in range(mixed_starts[mixed], mixed_starts[mixed + np.uint32(1)]):
                        sums[row, mixed_categories[at]] += mixed_weights[at]


@compile_cached
def add_unseen_votes(leaves, seen, truth, classes, mixed_starts, mixed_categories, mixed_weights, votes, trees):
    """Add what each row's true category has from the trees that have not seen it to `votes`, their number to `trees`.

    leaves (trees, rows) of `find_leaves`, seen bool (trees, rows), truth (rows,) uint32 below `classes`; the mixed
    leaves as of `add_leaf_values`; votes and trees float64 (rows,).
    """
    for tree in range(np.uint64(leaves.shape[0])):
        for row in range(np.uint64(leaves.shape[1])):
            if seen[tree, row]:
                continue
            trees[row] += 1.0
            leaf = leaves[tree, row]
            if leaf < np.uint32(classes):
                if leaf == truth[row]:
                    votes[row] += 1.0
            else:
                mixed = leaf - np.uint32(classes)
                for at in range(mixed_starts[mixed], mixed_starts[mixed + np.uint32(1)]):
                    if np.uint32(mixed_categories[at]) == truth[row]:
                        votes[row] += mixed_weights[at]


@compile_cached
def best_k(sums, n_trees, smoothing, indices, scores):
    """Write each row's largest probabilities, largest first and equal ones by their place, as a stable sort would.

    So they are ordered before `smoothing` more votes, spread evenly, are among them.

    sums (rows, classes) float64 of `add_leaf_values`; indices (rows, k) int32 and scores (rows, k) float32 are filled.
    """
    rows, classes = sums.shape
    k = indices.shape[1]
    for row in range(np.uint64(rows)):
        held, least = 0, -1.0
        for category in range(np.uint64(classes)):
            if sums[row, category] <= least:  # most are, and need no division
                continue
            value = sums[row, category] / n_trees  # unequal sums can be equal probabilities
            at = held
            while at > 0 and sums[row, np.uint64(indices[row, at - 1])] / n_trees < value:
                if at < k:
                    indices[row, at] = indices[row, at - 1]
                at -= 1
            if at < k:
                indices[row, at] = category
            if held < k:
                held += 1
            if held == k:
                least = sums[row, np.uint64(indices[row, k - 1])]
        for at in range(np.uint64(k)):
            own = sums[row, np.uint64(indices[row, at])]
            scores[row, at] = (own + smoothing / classes) / (n_trees + smoothing)
