"""Rows x forest -> summed leaf values and the best k of them, compiled by numba.

What makes it fast: a node is one 12-byte record and its children are neighbours; a step down has no branch
(`child + (x > threshold)`), and a leaf is its own child; eight rows walk in lock step, so that eight loads are under
way at once; trees are the outer loop, so that a tree stays in the cache while a block of rows passes through it.

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
def _step(nodes, X, row, place):  # type: ignore[no-untyped-def]
    node = nodes[place]
    tag = max(node.tag, 0)  # a leaf compares any feature with infinity
    x = X[row, tag & FEATURE]
    right = (x > node.threshold) | ((x != x) & ((tag & MISSING_RIGHT) != 0))
    return node.child + right


@_compiled
def add_leaf_values(nodes, roots, mixed_starts, mixed_categories, mixed_weights, X, sums):  # type: ignore[no-untyped-def]
    """Add every tree's leaf value for each row to `sums`, tree by tree, as scikit-learn does.

    nodes (n,) NODE; roots (trees,) int64; the mixed leaves' categories and weights lie between their starts; X (rows,
    features) float32, contiguous; sums (rows, classes) float64.
    """
    rows, classes = sums.shape
    leaves = np.empty(_LANES, np.int64)
    for root in roots:
        for start in range(0, rows, _LANES):
            # The last rows of a block walk again in the lanes that have none of their own.
            r0, r1, r2, r3 = start, min(start + 1, rows - 1), min(start + 2, rows - 1), min(start + 3, rows - 1)
            r4, r5, r6, r7 = (
                min(start + 4, rows - 1),
                min(start + 5, rows - 1),
                min(start + 6, rows - 1),
                min(start + 7, rows - 1),
            )
            a = b = c = d = e = f = g = h = np.int64(root)
            moving = True
            while moving:
                a2, b2 = _step(nodes, X, r0, a), _step(nodes, X, r1, b)
                c2, d2 = _step(nodes, X, r2, c), _step(nodes, X, r3, d)
                e2, f2 = _step(nodes, X, r4, e), _step(nodes, X, r5, f)
                g2, h2 = _step(nodes, X, r6, g), _step(nodes, X, r7, h)
                moved = (a2 ^ a) | (b2 ^ b) | (c2 ^ c) | (d2 ^ d) | (e2 ^ e) | (f2 ^ f) | (g2 ^ g) | (h2 ^ h)
                moving = moved != 0
                a, b, c, d, e, f, g, h = a2, b2, c2, d2, e2, f2, g2, h2
            leaves[0], leaves[1], leaves[2], leaves[3] = a, b, c, d
            leaves[4], leaves[5], leaves[6], leaves[7] = e, f, g, h
            for lane in range(min(_LANES, rows - start)):
                category = -1 - nodes[leaves[lane]].tag
                if category < classes:
                    sums[start + lane, category] += 1.0
                else:
                    mixed = category - classes
                    for at in range(mixed_starts[mixed], mixed_starts[mixed + 1]):
                        sums[start + lane, mixed_categories[at]] += mixed_weights[at]


@_compiled
def best_k(probabilities, indices, scores):  # type: ignore[no-untyped-def]
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
