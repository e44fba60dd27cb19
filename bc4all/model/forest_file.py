"""A forest's file: a .npz of plain arrays, and every check that stands between a hostile file and the kernel.

Format 1. `header` is JSON as bytes (format, n_features, classes, names, smoothing; older files are without the last);
`leaf` is a bit a node, `threshold` and `feature` have an entry an inner node, `category` one a leaf (from n_classes on:
a mixed leaf). Nodes lie breadth first, tree by tree, so that children need not be stored: they follow from which nodes
are leaves.
"""

import io
import json
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest
from bc4all.model.kernel import FEATURE, LEAF, MISSING_RIGHT, NODE

FORMAT = 1

_DTYPES = {
    "header": "|u1",
    "tree_starts": "<i8",
    "leaf": "|u1",
    "threshold": "<f4",
    "feature": "<i4",
    "category": "<i4",
    "mixed_starts": "<i8",
    "mixed_categories": "<i4",
    "mixed_weights": "<f8",
    "importances": "<f8",
}
# A file may not unpack to more than this many times its size (beyond a free 64 MiB): client_3's unpacks to 2.5.
_MAX_RATIO, _FREE_BYTES = 200, 64 << 20
# Sums of a leaf's shares, each rounded by scikit-learn.
_SUM_TOLERANCE = 1e-6


def save_forest(forest: CompactForest, path: Path) -> None:
    """Write one compressed file of plain arrays."""
    with path.open("wb") as file:
        write_forest(forest, file)


def load_forest(path: Path) -> CompactForest:
    """Read a file of `save_forest`. Raise ModelError where anything in it is not as a forest must be."""
    with path.open("rb") as file:
        return read_forest(file, path.name)


def write_forest(forest: CompactForest, file: BinaryIO) -> None:
    """Write `forest` to an open file."""
    leaf = forest.nodes["tag"] == LEAF
    names = list(forest.names) if forest.names is not None else None
    header = {
        "format": FORMAT,
        "n_features": forest.n_features_in_,
        "classes": forest.classes_.tolist(),
        "names": names,
        "smoothing": forest.smoothing,
    }
    np.savez_compressed(
        file,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        tree_starts=forest.tree_starts,
        leaf=np.packbits(leaf),
        threshold=forest.nodes["threshold"][~leaf],
        feature=forest.nodes["tag"][~leaf].astype(np.int32),
        category=forest.nodes["child"][leaf].astype(np.int32),
        mixed_starts=forest.mixed_starts,
        mixed_categories=forest.mixed_categories,
        mixed_weights=forest.mixed_weights,
        importances=forest.importances,
    )


def read_forest(file: BinaryIO, name: str = "of the model") -> CompactForest:
    """Return the forest in an open file, called `name`. Raises ModelError unless all in it can be a forest's."""
    try:
        arrays = _read_arrays(file)
        return _assembled(arrays, json.loads(arrays["header"].tobytes()))
    except ModelError as error:
        raise ModelError(f"the forest file {name} is refused: {error.what}", error.where, _REMEDY) from error
    except _DAMAGE as error:
        raise ModelError(f"the forest file {name} is damaged: {error}", remedy=_REMEDY) from error


_REMEDY = "train the client again"
# What zipfile, zlib, NumPy's header parser and json raise for content that is not theirs.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    NotImplementedError,
    RecursionError,
)


def _read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the file's arrays, each of the type and dimension that it must have, unpacked only if small enough."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if set(members) != set(_DTYPES) or len(archive.infolist()) != len(members):
            raise ModelError(f"it holds {', '.join(sorted(members))[:200]}")
        if any(info.flag_bits & 0x1 for info in members.values()):
            raise ModelError("it is encrypted")
        unpacked = sum(info.file_size for info in members.values())
        if unpacked > _FREE_BYTES + _MAX_RATIO * size:
            raise ModelError(f"it would unpack to {unpacked >> 20} MiB")
        return {name: _read_array(archive, info, np.dtype(_DTYPES[name])) for name, info in members.items()}


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, dtype: np.dtype[Any]) -> np.ndarray:
    """Return one .npy member. Its header is checked against the bytes that follow before an array is made of them."""
    content = archive.read(info)
    stream = io.BytesIO(content)
    if npy.read_magic(stream) != (1, 0):
        raise ModelError(f"{info.filename} is of another npy version")
    shape, by_column, found = npy.read_array_header_1_0(stream)
    dimensions = 2 if info.filename.startswith("importances") else 1
    if found != dtype or len(shape) != dimensions or (by_column and dimensions > 1):
        raise ModelError(f"{info.filename} is an array of {found} with the shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ModelError(f"{info.filename} declares the shape {shape} for {len(content)} bytes")
    return np.frombuffer(content, dtype=dtype, offset=stream.tell()).reshape(shape)


def _require(sound: Any, complaint: str) -> None:
    if not sound:
        raise ModelError(complaint)


def _assembled(arrays: dict[str, np.ndarray], header: Any) -> CompactForest:
    classes, n_features, names = _checked_header(header)
    smoothing = header.get("smoothing", 0.0)
    _require(type(smoothing) is float and 0 <= smoothing < np.inf, "its smoothing is no number of votes")
    starts = arrays["tree_starts"]
    _require(len(starts) >= 2 and starts[0] == 0 and (np.diff(starts) > 0).all(), "its trees are not in order")
    n_nodes = int(starts[-1])
    _require(n_nodes < np.iinfo(np.int32).max and len(arrays["leaf"]) == -(-n_nodes // 8), "its nodes are miscounted")
    leaf = np.unpackbits(arrays["leaf"], count=n_nodes).astype(bool)
    children = _checked_children(leaf, starts)
    inner = int(n_nodes - leaf.sum())
    threshold, feature, category = arrays["threshold"], arrays["feature"], arrays["category"]
    _require(len(threshold) == inner == len(feature) and len(category) == n_nodes - inner, "its nodes are miscounted")
    _require(not np.isnan(threshold).any(), "a threshold is no number")
    plain = feature & ~np.int32(MISSING_RIGHT)
    _require((plain >= 0).all() and (plain < min(n_features, FEATURE)).all(), "a node asks for a feature out of range")
    _check_leaves(arrays, len(classes))
    importances = arrays["importances"]
    _require(importances.shape == (len(starts) - 1, n_features), "its importances are miscounted")
    _require(not np.isinf(importances).any(), "an importance is infinite")
    nodes = np.zeros(n_nodes, dtype=NODE)
    nodes["child"][leaf], nodes["child"][~leaf] = category, children
    nodes["threshold"][~leaf] = threshold
    nodes["tag"][leaf], nodes["tag"][~leaf] = LEAF, feature
    return CompactForest(
        nodes=nodes,
        tree_starts=starts,
        mixed_starts=arrays["mixed_starts"],
        mixed_categories=arrays["mixed_categories"],
        mixed_weights=arrays["mixed_weights"],
        importances=importances,
        classes_=classes,
        names=names,
        smoothing=smoothing,
    )


def _checked_header(header: Any) -> tuple[np.ndarray, int, tuple[str, ...] | None]:
    _require(isinstance(header, dict) and header.get("format") == FORMAT, f"it is not of format {FORMAT}")
    classes, n_features, names = header.get("classes"), header.get("n_features"), header.get("names")
    kinds = {type(label) for label in classes} if isinstance(classes, list) else set()
    _require(kinds in ({str}, {int}, {float}, {bool}), "its categories are neither all text nor all numbers")
    _require(len(set(classes)) == len(classes), "a category is there twice")
    _require(type(n_features) is int and 0 < n_features < FEATURE, "it has no count of features")
    named = isinstance(names, list) and len(names) == n_features and all(isinstance(name, str) for name in names)
    _require(names is None or named, "its feature names are not as many as its features")
    labels = np.array(classes, dtype=object if kinds == {str} else None)
    return labels, n_features, None if names is None else tuple(names)


def _checked_children(leaf: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return every inner node's child as a place in the forest: inside its own tree and behind the node."""
    sizes = np.diff(starts)
    first = np.repeat(starts[:-1], sizes)
    inner_before = np.concatenate([[0], np.cumsum(~leaf)])
    inner = inner_before[starts[1:]] - inner_before[starts[:-1]]
    _require((sizes == 1 + 2 * inner).all(), "a tree has nodes that no path leads to")
    child = (first + 1 + 2 * (inner_before[:-1] - inner_before[first]))[~leaf]
    last = (np.repeat(starts[1:], sizes) - 1)[~leaf]
    forward = (child > np.flatnonzero(~leaf)) & (child + 1 <= last)
    _require(forward.all(), "a child lies outside its tree or before its parent")
    return np.asarray(child)


def _check_leaves(arrays: dict[str, np.ndarray], n_classes: int) -> None:
    starts, categories, weights = arrays["mixed_starts"], arrays["mixed_categories"], arrays["mixed_weights"]
    _require(len(starts) >= 1 and starts[0] == 0 and (np.diff(starts) > 0).all(), "its mixed leaves are not in order")
    _require(starts[-1] == len(categories) == len(weights), "its mixed leaves are miscounted")
    _require(((categories >= 0) & (categories < n_classes)).all(), "a mixed leaf's category is out of range")
    _require(np.isfinite(weights).all() and (weights >= 0).all(), "a leaf's weight is negative or no number")
    sums = np.add.reduceat(weights, starts[:-1]) if len(weights) else weights
    _require((np.abs(sums - 1) <= _SUM_TOLERANCE).all(), "a leaf's weights do not sum to 1")
    leaf = arrays["category"]
    _require(((leaf >= 0) & (leaf < n_classes + len(starts) - 1)).all(), "a leaf's category is out of range")
