"""A forest's file, and what happens to one that somebody meddled with."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest
from bc4all.model.forest_file import load_forest, save_forest

X = np.random.default_rng(0).normal(size=(200, 3)).round(1)
FLIPS = 10_000


@pytest.fixture(scope="module")
def forest() -> CompactForest:
    """A small forest with everything in it: mixed leaves, missing values, text labels, an accent."""
    y = np.array(list("abcdeé"), dtype=object)[np.random.default_rng(1).integers(0, 6, 200)]
    values = X.copy()
    values[::7, 1] = np.nan
    model = RandomForestClassifier(4, random_state=0, min_samples_leaf=3, max_depth=5).fit(values, y)
    model.feature_names_in_ = np.array(["f0", "prix é", "f2"], dtype=object)
    return replace(CompactForest.from_sklearn(model), smoothing=1.25)


@pytest.fixture(scope="module")
def saved(forest: CompactForest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("forest") / "forest.npz"
    save_forest(forest, file)
    return file


def members(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name].copy() for name in archive.files}


def write(file: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(file, **arrays)
    return file


def test_comes_back_as_it_was(forest: CompactForest, saved: Path) -> None:
    """Loading gives the arrays that were saved, bit for bit, labels and names included."""
    loaded = load_forest(saved)
    for name in (
        "nodes",
        "tree_starts",
        "mixed_starts",
        "mixed_categories",
        "mixed_weights",
        "importances",
        "classes_",
    ):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(forest, name))
    assert loaded.names == ("f0", "prix é", "f2")
    assert loaded.smoothing == 1.25
    np.testing.assert_array_equal(loaded.predict_proba(X), forest.predict_proba(X))


@pytest.mark.parametrize("labels", [np.arange(3), np.array([True, False]), np.array([0.5, 1.5, 2.5])])
def test_keeps_the_kind_of_label(tmp_path: Path, labels: np.ndarray) -> None:
    """Whole numbers, truth values and fractions come back as such."""
    model = RandomForestClassifier(2, random_state=0).fit(X, labels[np.arange(200) % len(labels)].astype(str))
    model.classes_ = labels
    save_forest(CompactForest.from_sklearn(model), tmp_path / "f.npz")
    loaded = load_forest(tmp_path / "f.npz")
    np.testing.assert_array_equal(loaded.classes_, labels)
    assert loaded.classes_.dtype == labels.dtype


def test_a_file_of_before_smoothing_is_read(saved: Path, tmp_path: Path) -> None:
    """Its scores are what they were."""
    arrays = members(saved)
    header = json.loads(arrays["header"].tobytes())
    del header["smoothing"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    assert load_forest(write(tmp_path / "forest.npz", arrays)).smoothing == 0.0


def answers_or_refuses(file: Path) -> bool:
    """Whether the file was refused; if it was not, scoring must end, with numbers that are probabilities."""
    try:
        loaded = load_forest(file)
    except ModelError:
        return True
    rows = X[:16, : loaded.n_features_in_] if loaded.n_features_in_ <= 3 else np.zeros((2, loaded.n_features_in_))
    probabilities = loaded.predict_proba(rows)
    assert ((probabilities >= 0) & (probabilities <= 1 + 1e-5)).all()
    loaded.top_k(rows, 5)
    return False


@pytest.mark.slow
def test_survives_random_flips_of_the_file(saved: Path, tmp_path: Path) -> None:
    """5,000 files with a flipped bit: each is refused or scored, none crashes. The zip's own sums catch most."""
    rng, content = np.random.default_rng(0), bytearray(saved.read_bytes())
    file, refused = tmp_path / "forest.npz", 0
    for place, bit in zip(rng.integers(0, len(content), FLIPS // 2), rng.integers(0, 8, FLIPS // 2), strict=True):
        content[place] ^= 1 << bit
        file.write_bytes(content)
        content[place] ^= 1 << bit
        refused += answers_or_refuses(file)
    assert refused > FLIPS // 4


@pytest.mark.slow
def test_survives_random_flips_of_the_arrays(saved: Path, tmp_path: Path) -> None:
    """5,000 files whose arrays have a flipped bit and whose sums are right: the checks of the reader stand alone."""
    rng, arrays = np.random.default_rng(1), members(saved)
    sizes = np.array([array.nbytes for array in arrays.values()])
    names, refused = list(arrays), 0
    for _ in range(FLIPS // 2):
        name = names[rng.choice(len(names), p=np.sqrt(sizes) / np.sqrt(sizes).sum())]
        flat = arrays[name].view(np.uint8).reshape(-1)
        place, bit = rng.integers(len(flat)), np.uint8(1 << rng.integers(8))
        flat[place] ^= bit
        refused += answers_or_refuses(write(tmp_path / "forest.npz", arrays))
        flat[place] ^= bit
    assert refused > FLIPS // 20


def _set(name: str, place: Any, value: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][place] = value

    return change


def _replace(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make(arrays[name])

    return change


def _header(**changes: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        header = json.loads(arrays["header"].tobytes()) | changes
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)

    return change


def _without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        del arrays[name]

    return change


ATTACKS = {
    "all nodes inner: children behind the end": _set("leaf", slice(None), 0),
    "all nodes leaves: nothing leads to them": _set("leaf", slice(None), 255),
    "the root a leaf": _set("leaf", 0, 255),
    "a feature too far": _set("feature", 0, 3),
    "a negative feature": _set("feature", 0, -1),
    "the largest feature": _set("feature", 0, np.iinfo(np.int32).max),
    "a category too far": _set("category", 0, 10_000),
    "a negative category": _set("category", 0, -1),
    "a threshold that is no number": _set("threshold", 0, np.nan),
    "a weight that is no number": _set("mixed_weights", 0, np.nan),
    "an infinite weight": _set("mixed_weights", 0, np.inf),
    "a negative weight": _set("mixed_weights", 0, -0.5),
    "weights that do not sum to 1": _set("mixed_weights", 0, 0.9),
    "a mixed category too far": _set("mixed_categories", 0, 6),
    "a mixed leaf that ends behind the table": _set("mixed_starts", -1, 10**12),
    "a mixed leaf that ends before it starts": _set("mixed_starts", 1, -5),
    "a tree that starts behind the nodes": _set("tree_starts", 1, 10**9),
    "trees that go backwards": _set("tree_starts", 1, 0),
    "more nodes than memory": _set("tree_starts", -1, 2**40),
    "no trees": _replace("tree_starts", lambda a: a[:1]),
    "a threshold too few": _replace("threshold", lambda a: a[:-1]),
    "nodes of another type": _replace("threshold", lambda a: a.astype(np.float64)),
    "objects": _replace("category", lambda a: np.array([object()] * len(a), dtype=object)),
    "a table of importances of another shape": _replace("importances", lambda a: a.T.copy()),
    "an infinite importance": _set("importances", 0, np.inf),
    "two dimensions": _replace("feature", lambda a: a.reshape(1, -1)),
    "a format from the future": _header(format=2),
    "no categories": _header(classes=[]),
    "a category twice": _header(classes=["a", "a", "c", "d", "e", "f"]),
    "fewer categories": _header(classes=["a"]),
    "categories of two kinds": _header(classes=["a", 1, "c", "d", "e", "f"]),
    "categories that are lists": _header(classes=[["a"]] * 6),
    "features without end": _header(n_features=10**12),
    "no features": _header(n_features=0),
    "a count of features that is true": _header(n_features=True),
    "too few feature names": _header(names=["x"]),
    "smoothing that is no number": _header(smoothing=float("nan")),
    "negative smoothing": _header(smoothing=-0.5),
    "infinite smoothing": _header(smoothing=float("inf")),
    "smoothing in words": _header(smoothing="1.0"),
    "a header that is a list": _replace("header", lambda a: np.frombuffer(b"[1]", dtype=np.uint8)),
    "a header without an end": _replace("header", lambda a: np.frombuffer(b"[" * 100_000, dtype=np.uint8)),
    "an array too few": _without("feature"),
    "an array too many": lambda arrays: arrays.update(more=np.zeros(1)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_refuses_a_forged_file(saved: Path, tmp_path: Path, attack: str) -> None:
    """Whatever would read out of bounds, walk forever or answer nonsense is refused by name."""
    arrays = members(saved)
    ATTACKS[attack](arrays)
    file = tmp_path / "forest.npz"
    np.savez(file, **arrays)
    with pytest.raises(ModelError, match=r"forest\.npz is (refused|damaged).*train the client again"):
        load_forest(file)


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x05\x06" + b"\0" * 18,
        b"no zip at all",
        pickle.dumps({"a": 1}),
    ],
)
def test_refuses_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    """Nothing, an empty archive, text and a pickle are no forests, and are not unpickled."""
    file = tmp_path / "forest.npz"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"is (refused|damaged)"):
        load_forest(file)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(-1,)", "(3,", "(4.0,)", "('4',)", "(1,) * 10**9"])
def test_refuses_a_shape_that_is_not_there(saved: Path, tmp_path: Path, shape: str) -> None:
    """A declared shape is compared with the bytes that follow before anything is allocated."""
    file = tmp_path / "forest.npz"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, _npy(shape) if name == "threshold.npy" else old.read(name))
    with pytest.raises(ModelError, match=r"is (refused|damaged)"):
        load_forest(file)


def test_refuses_a_bomb_before_unpacking_it(saved: Path, tmp_path: Path) -> None:
    """A small file that would unpack to far more than a forest can is refused by what it declares."""
    file = tmp_path / "forest.npz"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, b"\0" * (256 << 20) if name == "leaf.npy" else old.read(name))
    with pytest.raises(ModelError, match="would unpack to"):
        load_forest(file)


def test_refuses_a_truncated_file(saved: Path, tmp_path: Path) -> None:
    """However much of a file is missing, it is refused."""
    content, file = saved.read_bytes(), tmp_path / "forest.npz"
    for length in range(0, len(content), 211):
        file.write_bytes(content[:length])
        with pytest.raises(ModelError):
            load_forest(file)


def test_refuses_an_array_of_another_npy_version(saved: Path, tmp_path: Path) -> None:
    """Only the plain first version of the array format is read."""
    file, buffer = tmp_path / "forest.npz", io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros(3, dtype=np.float32), version=(2, 0))
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, buffer.getvalue() if name == "threshold.npy" else old.read(name))
    with pytest.raises(ModelError, match="another npy version"):
        load_forest(file)
