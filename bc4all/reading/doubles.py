"""Ids that come twice: of sound rows with the same one the first counts, by file, then by place in it.

A task that has all rows of a client sees them itself. Else tasks share out what `packs.read_keys` gives, by its hashes,
so that equal ids meet, and who has them says which rows come later: neither rows nor ids travel.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from bc4all.column_names import PRODUCT_ID
from bc4all.reading.packs import Batches, packed, read_keys, rows_of, sound
from bc4all.reading.rows import Wanted

DOUBLED = "duplicate product_id"
MAX_SEEN = 1_000_000  # ids that one task remembers: some 100 MB
SHARED = pa.schema([("bucket", pa.int32()), ("client", pa.int32()), ("keys", pa.binary())])
DOUBLED_ROWS = pa.schema([("client", pa.int32()), ("row", pa.int64())])


class HasValue(Protocol):
    """What a task needs of a Spark broadcast."""

    @property
    def value(self) -> Mapping[int, np.ndarray]: ...


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
        for client, keys in _keys_in(batches):
            buckets = (keys[0].view(np.uint64) % np.uint64(self.buckets)).astype(np.int32)
            numbers = np.unique(buckets)
            parts = [keys[:, buckets == number].tobytes() for number in numbers.tolist()]
            clients = pa.array([client] * len(numbers), pa.int32())
            yield pa.RecordBatch.from_arrays([pa.array(numbers), clients, pa.array(parts, pa.binary())], schema=SHARED)


def find_doubled(batches: Batches) -> Batches:
    """Yield, from all keys of some buckets, the rows that come later than one with their id, by DOUBLED_ROWS."""
    parts: dict[int, list[np.ndarray]] = {}
    for client, keys in _keys_in(batches):
        parts.setdefault(client, []).append(keys)
    for client, own in parts.items():
        rows = pa.array(_later(np.concatenate(own, axis=1)))
        yield pa.RecordBatch.from_arrays([pa.array([client] * len(rows), pa.int32()), rows], schema=DOUBLED_ROWS)


def _keys_in(batches: Batches) -> Iterator[tuple[int, np.ndarray]]:
    for batch in batches:
        for client, content in zip(batch["client"].to_pylist(), batch["keys"], strict=True):
            yield client, read_keys(content.as_buffer())


def _later(keys: np.ndarray) -> np.ndarray:
    hashes = np.sort(keys[0])
    if not (hashes[1:] == hashes[:-1]).any():
        return keys[2, :0]
    keys = keys[:, np.lexsort(keys[::-1])]
    is_later = (keys[:2, 1:] == keys[:2, :-1]).all(axis=0)
    return np.asarray(keys[2, 1:][is_later])


@dataclass(frozen=True)
class RefuseDoubled:
    """What tasks run on packs where some of clients' rows are `doubled`, by their numbers, sorted."""

    wanted: Mapping[int, Wanted]
    doubled: HasValue

    def __call__(self, batches: Batches) -> Batches:
        """Yield the packs with those rows refused."""
        for batch in batches:
            for place in range(batch.num_rows):
                pack = batch.slice(place, 1)
                client, content = pack["client"][0].as_py(), pack["rows"][0]
                doubled = self.doubled.value.get(client) if content.is_valid else None
                if doubled is None:
                    yield pack
                else:
                    yield packed(client, _refuse(rows_of(content.as_buffer()), doubled), self.wanted[client])
