"""Ids that come twice: of sound rows with the same one the first counts, by file, then by place in it.

A task that has all rows of a client sees them itself. Else tasks share out what `packs.read_keys` gives, by its hashes,
so that equal ids meet, and who has them says which rows come later: neither rows nor ids travel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from bc4all.column_names import PRODUCT_ID
from bc4all.reading.packs import Batches, packed, read_keys, rows_of, sound
from bc4all.reading.rows import Wanted

DOUBLED = "duplicate product_id"
MAX_SEEN = 1_000_000  # ids that one task remembers: some 100 MB
SHARED = pa.schema([("bucket", pa.int32()), ("keys", pa.binary())])
DOUBLED_ROWS = pa.schema([("row", pa.int64())])


class HasValue(Protocol):
    """What a task needs of a Spark broadcast."""

    @property
    def value(self) -> np.ndarray: ...


def mark_all(batches: Iterable[pa.RecordBatch]) -> Batches:
    """Yield all rows of a client, by `rows.SCHEMA` and in order, with the doubled ones refused.

    Behind the first MAX_SEEN ids they are left as they are, for who has the `keys` of all.
    """
    seen: set[str] = set()
    for rows in batches:
        if len(seen) >= MAX_SEEN or rows["file_end"].null_count < rows.num_rows:  # a file's end has no id
            yield rows
            continue
        kept, doubled = sound(rows), []
        for row, product in zip(kept["row"].to_pylist(), kept[PRODUCT_ID].to_pylist(), strict=True):
            if product in seen:
                doubled.append(row)
            seen.add(product)
        yield _refuse(rows, np.array(doubled, np.int64))


def _refuse(rows: pa.RecordBatch, doubled: np.ndarray) -> pa.RecordBatch:
    """Return the rows; those whose number is among `doubled`, which are sorted, have a fault."""
    numbers = rows["row"].to_numpy()
    places = np.minimum(np.searchsorted(doubled, numbers), max(len(doubled) - 1, 0))
    found = np.flatnonzero(doubled[places] == numbers) if len(doubled) else places[:0]
    if not len(found):
        return rows
    faults = rows["fault"].to_pylist()
    for place in found.tolist():
        faults[place] = DOUBLED
    column = rows.schema.get_field_index("fault")
    return rows.set_column(column, rows.schema.field(column), pa.array(faults, pa.string()))


@dataclass(frozen=True)
class ShareKeys:
    """What tasks run on packs' `keys`: they are dealt out to `buckets`, equal hashes to the same one."""

    buckets: int

    def __call__(self, batches: Batches) -> Batches:
        """Yield each pack's keys by bucket, by SHARED."""
        for batch in batches:
            for content in batch["keys"]:
                keys = read_keys(content.as_buffer())
                buckets = (keys[0].view(np.uint64) % np.uint64(self.buckets)).astype(np.int32)
                numbers = np.unique(buckets)
                parts = [keys[:, buckets == number].tobytes() for number in numbers.tolist()]
                yield pa.RecordBatch.from_arrays([pa.array(numbers), pa.array(parts, pa.binary())], schema=SHARED)


def find_doubled(batches: Batches) -> Batches:
    """Yield, from all keys of some buckets, the rows that come later than one with their id, by DOUBLED_ROWS."""
    parts = [read_keys(content.as_buffer()) for batch in batches for content in batch["keys"]]
    if parts:
        yield pa.RecordBatch.from_arrays([pa.array(_later(np.concatenate(parts, axis=1)))], schema=DOUBLED_ROWS)


def _later(keys: np.ndarray) -> np.ndarray:
    hashes = np.sort(keys[0])
    if not (hashes[1:] == hashes[:-1]).any():
        return keys[2, :0]
    keys = keys[:, np.lexsort(keys[::-1])]
    is_later = (keys[:2, 1:] == keys[:2, :-1]).all(axis=0)
    return np.asarray(keys[2, 1:][is_later])


@dataclass(frozen=True)
class RefuseDoubled:
    """What tasks run on packs where some of their rows are `doubled`, by their numbers, sorted."""

    wanted: Wanted
    doubled: HasValue

    def __call__(self, batches: Batches) -> Batches:
        """Yield the packs with those rows refused."""
        for batch in batches:
            for place in range(batch.num_rows):
                pack = batch.slice(place, 1)
                content = pack["rows"][0]
                refused = content.is_valid and _refuse(rows_of(content.as_buffer()), self.doubled.value)
                yield packed(refused, self.wanted) if refused else pack
