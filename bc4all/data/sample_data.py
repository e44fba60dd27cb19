"""Made-up clients, shaped like real ones: skewed categories that overlap, so that no model can be perfect.

Equal seeds give equal files, byte for byte; a client's data depends on the seed and its own number alone.
"""

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pyarrow import csv

from bc4all.data.sample_titles import Catalogue
from bc4all.errors import DataError
from bc4all.identity import ClientId

FEATURES = ("f0", "f1", "f2", "f3", "f4")
TITLE = "title"
_CHUNK = 100_000  # rows in memory at a time
_MIN_CATEGORIES, _MAX_CATEGORIES = 15, 62  # categories of the real clients
_SPREAD = 0.06  # of categories' centres
_NOISE = 0.045  # of products around a centre, with 35 categories: fewer ones must overlap more to be as hard
_SKEW = 0.8  # the i-th largest category has a share of 1 / i ** skew


def write_sample_data(
    out: Path, clients: int, rows: int, seed: int, categories: int | None = None, titles: bool = False
) -> Iterator[ClientId]:
    """Write client_0, client_1, … below `out`, each with `rows` products to train on and as many to predict.

    Products have numbers, or `titles` and categories that are paths. Yields each client's id when its two files are
    complete. Raises DataError, before writing anything, where a client has data already.
    """
    partitions = [out / kind / f"client_id=client_{i}" for i in range(clients) for kind in ("train", "prediction")]
    for partition in partitions:
        if partition.exists() and any(partition.iterdir()):
            raise DataError(f"{partition} holds data already", remedy="name another folder with --out")
    for i in range(clients):
        rng = np.random.default_rng([seed, i])
        count = categories or int(rng.integers(_MIN_CATEGORIES, _MAX_CATEGORIES + 1))
        _write_client(out, i, rows, rng, _Titles(count, rng) if titles else _Points(i, count, rng))
        yield ClientId(f"client_{i}")


class _Made(Protocol):
    """A client's categories, str (categories,), the largest first, and its products' features."""

    labels: np.ndarray

    def columns(self, codes: np.ndarray, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return the features of products of these categories, int (products,), by name."""


class _Points:
    """Products are points around their category's centre."""

    def __init__(self, number: int, count: int, rng: np.random.Generator) -> None:
        self.labels = np.array([f"c{number}_{code}" for code in rng.choice(20 * count + 1000, count, replace=False)])
        self._noise = _NOISE * (35 / count) ** 0.5
        self._centres = rng.normal(0, _SPREAD, (count, len(FEATURES)))

    def columns(self, codes: np.ndarray, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        points = self._centres[codes] + rng.normal(0, self._noise, (len(codes), len(FEATURES)))
        return {name: points[:, i].round(16) for i, name in enumerate(FEATURES)}


class _Titles:
    """Products are named, and the largest categories stand anywhere in the catalogue."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._catalogue, self._places = Catalogue(count, rng), rng.permutation(count)
        self.labels = self._catalogue.labels[self._places]

    def columns(self, codes: np.ndarray, rng: np.random.Generator) -> Mapping[str, Sequence[str]]:
        return {TITLE: self._catalogue.titles(self._places[codes], rng)}


def _write_client(out: Path, number: int, rows: int, rng: np.random.Generator, made: _Made) -> None:
    count = len(made.labels)
    shares = 1 / np.arange(1, count + 1) ** _SKEW
    for kind, file in (("train", "data_train.csv.gz"), ("prediction", "data_predict.csv.gz")):
        folder = out / kind / f"client_id=client_{number}"
        folder.mkdir(parents=True, exist_ok=True)
        with (
            (folder / file).open("wb") as raw,
            # No time and no name in the header: equal data makes an equal file.
            gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0) as packed,
        ):
            for start in range(0, rows, _CHUNK):
                codes = rng.choice(count, min(_CHUNK, rows - start), p=shares / shares.sum())
                features = made.columns(codes, rng)
                columns: dict[str, Any] = {
                    "product_id": _product_ids(rng, len(codes)),
                    "category_id": made.labels[codes],
                }
                columns |= features
                if kind == "prediction":
                    del columns["category_id"]
                packed.write(_csv(columns, header=start == 0))


def _product_ids(rng: np.random.Generator, rows: int) -> list[str]:
    """128 random bits each, written like a UUID."""
    digits = rng.bytes(16 * rows).hex()
    ids = (digits[at : at + 32] for at in range(0, 32 * rows, 32))
    return [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in ids]


def _csv(columns: Mapping[str, Any], header: bool) -> bytes:
    buffer = io.BytesIO()
    if header:
        buffer.write(f"{','.join(columns)}\n".encode())  # which Arrow would put in quotes
    csv.write_csv(pa.table(columns), buffer, csv.WriteOptions(include_header=False, quoting_style="none"))
    return buffer.getvalue()
