# mypy: disable-error-code="no-untyped-def"
# numba infers the types of what it compiles; the docstrings give them.
"""Rows x forest -> summed leaf values and the best k of them, compiled by numba.

What makes it fast: a node is one 12-byte record and its children are neighbours; a step down has no branch
(`child + (x > threshold)`), and a leaf is its own child; eight rows walk in lock step, so that eight loads are under
way at once; trees are the outer loop, so that a tree stays in the cache while a block of rows passes through it. For
that reason the leaves' values are added in a second pass: sums touched row by row would push the tree out.

Nothing here checks an index: `forest_file` has, for every forest that was not made in this process.
"""

import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

NODE = np.dtype([("threshold", "<f4"), ("child", "<i4"), ("tag", "<i4")])
"""A node. Inner: x[tag & FEATURE] <= threshold goes to `child`, else to `child + 1`; a missing x goes right where tag
has the bit MISSING_RIGHT. Leaf: tag is -1 - its category, or, from -1 - n_classes on, -1 - n_classes - its place in the
table of mixed leaves; threshold is infinite and `child` the leaf itself, so that a walk stays there."""

MISSING_RIGHT = 1 << 30
FEATURE = MISSING_RIGHT - 1

_LANES = 8


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use, and keep the machine code where numba finds a folder for it, be it beside a zip."""
    if _has_cache(function):
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return numba.njit(nogil=True, error_model="numpy")(function)  # each worker compiles for itself


def _has_cache(function: Callable[..., Any]) -> bool:
    """Whether numba can write what it compiles: where it only thinks so, the first call would fail."""
    try:
        folder = str(numba.njit(cache=True)(function).stats.cache_path)
        os.makedirs(folder, exist_ok=True)
    except (RuntimeError, OSError):  # RuntimeError: numba knows no folder for this file
        return False
    return os.access(folder, os.W_OK)


@_compiled
def _step(nodes, X, row, place, missing):
    # Unsigned throughout: numba would otherwise look whether an index counts from the end.
    node = nodes[place]
    tag = np.uint32(max(node.tag, 0))  # a leaf compares any feature with infinity
    x = X[row, np.uint64(tag & np.uint32(FEATURE))]
    right = x > node.threshold
    if missing:
        right |= (x != x) & ((tag & np.uint32(MISSING_RIGHT)) != 0)
    return np.uint64(np.uint32(node.child)) + np.uint64(right)


@_compiled
def find_leaves(nodes, roots, X, missing, tags):
    """Write the tag of the leaf that each row reaches in each tree.

    nodes (n,) NODE; roots (trees,) int64; X (rows, features) float32, contiguous; `missing`: whether X has a NaN; tags
    (trees, rows) int32 is filled.
    """
    last = X.shape[0] - 1
    for tree in range(len(roots)):
        for start in range(0, last + 1, _LANES):
            # The last rows walk once more in the lanes that have none of their own.
            p, q, r, s = np.uint64(start), min(start + 1, last), min(start + 2, last), min(start + 3, last)
            t, u, v, w = min(start + 4, last), min(start + 5, last), min(start + 6, last), min(start + 7, last)
            q, r, s, t = np.uint64(q), np.uint64(r), np.uint64(s), np.uint64(t)
            u, v, w = np.uint64(u), np.uint64(v), np.uint64(w)
            a = b = c = d = e = f = g = h = np.uint64(roots[tree])
            moving = True
            while moving:
                a2, b2 = _step(nodes, X, p, a, missing), _step(nodes, X, q, b, missing)
                c2, d2 = _step(nodes, X, r, c, missing), _step(nodes, X, s, d, missing)
                e2, f2 = _step(nodes, X, t, e, missing), _step(nodes, X, u, f, missing)
                g2, h2 = _step(nodes, X, v, g, missing), _step(nodes, X, w, h, missing)
                moved = (a2 ^ a) | (b2 ^ b) | (c2 ^ c) | (d2 ^ d) | (e2 ^ e) | (f2 ^ f) | (g2 ^ g) | (h2 ^ h)
                moving = moved != np.uint64(0)
                a, b, c, d, e, f, g, h = a2, b2, c2, d2, e2, f2, g2, h2
            tags[tree, p], tags[tree, q], tags[tree, r], tags[tree, s] = (
                nodes[a].tag,
                nodes[b].tag,
                nodes[c].tag,
                nodes[d].tag,
            )
            tags[tree, t], tags[tree, u], tags[tree, v], tags[tree, w] = (
                nodes[e].tag,
                nodes[f].tag,
                nodes[g].tag,
                nodes[h].tag,
            )


@_compiled
def add_leaf_values(tags, first, mixed_starts, mixed_categories, mixed_weights, sums):
    """Add the leaf values of the rows from `first` on to `sums`, tree by tree, as scikit-learn does.

    tags (trees, all rows) of `find_leaves`; the mixed leaves' categories and weights lie between their starts; sums
    (rows, classes) float64.
    """
    trees = tags.shape[0]
    rows, classes = sums.shape
    for start in range(0, rows, _LANES * 2):  # a cache line of tags
        for tree in range(trees):
            for row in range(start, min(start + _LANES * 2, rows)):
                category = -1 - tags[tree, first + row]
                if category < classes:
                    sums[row, category] += 1.0
                else:
                    mixed = category - classes
                    for at in range(mixed_starts[mixed], mixed_starts[mixed + 1]):
                        sums[row, mixed_categories[at]] += mixed_weights[at]


@_compiled
def best_k(probabilities, indices, scores):
    """Write each row's largest values, largest first and equal ones by their place, as a stable sort would.

    probabilities (rows, classes) float64; indices (rows, k) int32 and scores (rows, k) float32 are filled.
    """
    rows, classes = probabilities.shape
    k = indices.shape[1]
    best = np.empty(k, np.float64)
    for row in range(rows):
        held = 0
        for category in range(classes):
            value = probabilities[row, category]
            if held == k and value <= best[k - 1]:
                continue
            at = held if held < k else k - 1
            while at > 0 and best[at - 1] < value:
                best[at] = best[at - 1]
                indices[row, at] = indices[row, at - 1]
                at -= 1
            best[at] = value
            indices[row, at] = category
            held = min(held + 1, k)
        for at in range(k):
            scores[row, at] = best[at]
