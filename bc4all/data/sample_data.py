"""Made-up clients, shaped like real ones: skewed categories that overlap, so that no model can be perfect.

Equal seeds give equal files, byte for byte; a client's data depends on the seed and its own number alone.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from bc4all.errors import DataError
from bc4all.identity import ClientId

FEATURES = ("f0", "f1", "f2", "f3", "f4")
_CHUNK = 100_000  # rows in memory at a time
_MIN_CATEGORIES, _MAX_CATEGORIES = 15, 62  # categories of the real clients
_SPREAD = 0.06  # of categories' centres
_NOISE = 0.045  # of products around a centre, with 35 categories: fewer ones must overlap more to be as hard
_SKEW = 0.8  # the i-th largest category has a share of 1 / i ** skew


def write_sample_data(
    out: Path, clients: int, rows: int, seed: int, categories: int | None = None
) -> Iterator[ClientId]:
    """Write client_0, client_1, … below `out`, each with `rows` products to train on and as many to predict.

    Yields each client's id when its two files are complete. Raises DataError, before writing anything, where a client
    has data already.
    """
    partitions = [out / kind / f"client_id=client_{i}" for i in range(clients) for kind in ("train", "prediction")]
    for partition in partitions:
        if partition.exists() and any(partition.iterdir()):
            raise DataError(f"{partition} holds data already", remedy="name another folder with --out")
    for i in range(clients):
        _write_client(out, i, rows, np.random.default_rng([seed, i]), categories)
        yield ClientId(f"client_{i}")


def _write_client(out: Path, number: int, rows: int, rng: np.random.Generator, categories: int | None) -> None:
    count = categories or int(rng.integers(_MIN_CATEGORIES, _MAX_CATEGORIES + 1))
    labels = np.array([f"c{number}_{code}" for code in rng.choice(20 * count + 1000, count, replace=False)])
    shares = 1 / np.arange(1, count + 1) ** _SKEW
    noise = _NOISE * (35 / count) ** 0.5
    centres = rng.normal(0, _SPREAD, (count, len(FEATURES)))
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
                points = centres[codes] + rng.normal(0, noise, (len(codes), len(FEATURES)))
                columns = {"product_id": _product_ids(rng, len(codes)), "category_id": labels[codes]}
                if kind == "prediction":
                    del columns["category_id"]
                packed.write(_csv(columns, points, header=start == 0))


def _product_ids(rng: np.random.Generator, rows: int) -> list[str]:
    """128 random bits each, written like a UUID."""
    digits = rng.bytes(16 * rows).hex()
    ids = (digits[at : at + 32] for at in range(0, 32 * rows, 32))
    return [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in ids]


def _csv(columns: dict[str, Any], points: np.ndarray, header: bool) -> bytes:
    columns = columns | {name: points[:, i].round(16) for i, name in enumerate(FEATURES)}
    buffer = io.BytesIO()
    if header:
        buffer.write(f"{','.join(columns)}\n".encode())  # which Arrow would put in quotes
    csv.write_csv(pa.table(columns), buffer, csv.WriteOptions(include_header=False, quoting_style="none"))
    return buffer.getvalue()
