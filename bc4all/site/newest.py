"""What a client's page shows of the newest published date's products, read batch by batch.

However many products there are, what is kept of them is bounded: counts, the least certain ones, and a sample.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bc4all.data.published import read_ranked
from bc4all.errors import DataError, TransientFailure
from bc4all.identity import ClientId, Day
from bc4all.layout import Layout

BINS = 10  # equal ones of the best score, from 0 to 1
LEAST_CERTAIN = 25
SAMPLED = 10_000  # products to browse at most


@dataclass(frozen=True)
class Product:
    """A product and its categories with their scores, the best first."""

    id: str
    best: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Predictions:
    """One published date's products.

    `histogram`: products by best score, in BINS bins; `categories`: products by best category; `least_certain`: those
    of the lowest best scores, the lowest first; `sample`: some of them, in no order that means anything, or all.
    """

    day: Day
    products: int
    mean_score: float
    histogram: Sequence[int]
    categories: Mapping[str, int]
    least_certain: Sequence[Product]
    sample: Sequence[Product]


@dataclass(frozen=True)
class _Smallest:
    """The product ids of the smallest keys, in order, at most `size` of them."""

    size: int
    keys: np.ndarray
    ids: np.ndarray

    def among(self, keys: np.ndarray, ids: np.ndarray) -> "_Smallest":
        """Return the smallest of these and of further ones."""
        keys, ids = np.concatenate([self.keys, keys]), np.concatenate([self.ids, ids])
        if len(keys) > self.size:  # sorting is for the few: there may be many batches
            few = keys <= np.partition(keys, self.size - 1)[self.size - 1]
            keys, ids = keys[few], ids[few]
        order = sorted(range(len(keys)), key=lambda place: (keys[place], ids[place]))[: self.size]
        return _Smallest(self.size, keys[order], ids[order])


def read_predictions(layout: Layout, client_id: ClientId, day: Day) -> Predictions | None:
    """Return what a published date holds; None where it has no products.

    The sample is that of the smallest hashes, so that it is the same each time. Raises TransientFailure where the date
    cannot be read, or is replaced meanwhile.
    """
    histogram, categories, total = np.zeros(BINS, dtype=np.int64), Counter[str](), 0.0
    nothing = np.zeros(0, dtype=object)
    lowest = _Smallest(LEAST_CERTAIN, np.zeros(0, dtype=np.float32), nothing)
    sample = _Smallest(SAMPLED, np.zeros(0, dtype=np.uint64), nothing)
    where = layout.published_partition(client_id, day)
    for batch in read_ranked(layout, client_id, day):
        ids, scores = _texts(batch["product_id"]), batch["pred_score"].to_numpy(zero_copy_only=False)
        if any(column.null_count for column in batch.columns) or np.isnan(scores).any():
            raise DataError(f"{client_id}: a product of {day} has no id, category or score", where, "predict it again")
        histogram += np.bincount(np.clip((scores * BINS).astype(int), 0, BINS - 1), minlength=BINS)
        total += float(scores.sum(dtype=np.float64))
        for entry in pc.value_counts(batch["pred_label"]).to_pylist():
            categories[entry["values"]] += entry["counts"]
        lowest = lowest.among(scores, ids)
        sample = sample.among(pd.util.hash_array(ids, categorize=False), ids)
    count = int(histogram.sum())
    if not count:
        return None
    shown = sorted({*lowest.ids, *sample.ids})
    products = _products(read_ranked(layout, client_id, day, shown))
    if len(products) < len(shown):
        raise TransientFailure(f"{client_id}: the categories of {day} were replaced while they were read", where)
    return Predictions(
        day=day,
        products=count,
        mean_score=total / count,
        histogram=histogram.tolist(),
        categories=categories,
        least_certain=[products[product_id] for product_id in lowest.ids],
        sample=[products[product_id] for product_id in sample.ids],
    )


def _texts(column: pa.Array) -> np.ndarray:
    texts: np.ndarray = column.to_numpy(zero_copy_only=False)
    return texts


def _products(batches: Iterable[pa.RecordBatch]) -> dict[str, Product]:
    """Return products by id, with their categories by rank."""
    ranked: dict[str, list[tuple[int, str, float]]] = {}
    for batch in batches:
        columns = (batch[name].to_pylist() for name in ("product_id", "rank", "pred_label", "pred_score"))
        for product_id, *answer in zip(*columns, strict=True):
            ranked.setdefault(product_id, []).append(tuple(answer))
    return {
        product_id: Product(product_id, [(label, score) for _, label, score in sorted(answers)])
        for product_id, answers in ranked.items()
    }
