"""Rows as Spark carries them: in packs of 1 to 2 MB, as bytes that Java passes on, with what it must know of them.

A pack is what a task reads at once; nothing between two Python workers takes its rows apart.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID, ROW
from bc4all.kinds import NUMERIC, Features
from bc4all.reading.facts import FACT, Fact, bin_facts, end_fact, row_facts
from bc4all.reading.rows import SCHEMA, Wanted

Batches = Iterator[pa.RecordBatch]
Content: TypeAlias = bytes | pa.Buffer

PACKED = pa.schema([field for field in SCHEMA if field.name != "file_end"])
PACKS = pa.schema(
    [
        ("client", pa.int32()),  # its number among those that are read at once
        ("facts", pa.list_(FACT)),
        ("keys", pa.binary()),  # of sound rows
        ("first", pa.int64()),  # row
        ("rows", pa.binary()),  # by PACKED; null behind a file's last ones, where a fact tells of its end
    ]
)
_SPARKS_SEED = 42  # of its function xxhash64
# What a model gets at once: a pack is 6 rows of ten thousand columns, or 130,000 of one.
_BATCH_ROWS, _BATCH_BYTES = 10_000, 16 << 20


def packed(client: int, rows: pa.RecordBatch, wanted: Wanted) -> pa.RecordBatch:
    """Return a client's rows by SCHEMA or PACKED as a batch of one pack, by PACKS; so is a file's end."""
    if "file_end" in rows.schema.names and rows["file_end"].null_count < len(rows):
        facts = [end_fact(row) for row in rows.select(["file", "file_end"]).to_pylist()]
        return _pack(client, facts, rows["row"][:1])
    kept = sound(rows)
    hashes = id_hashes(kept[PRODUCT_ID])
    facts = row_facts(rows, kept, hashes)
    if wanted.count:
        facts += bin_facts(wanted.count(value_frame(kept, wanted.features)))
    keys = np.stack([hashes, _other_hashes(kept[PRODUCT_ID]), kept["row"].to_numpy()])
    return _pack(client, facts, rows["row"][:1], pa.py_buffer(keys), rows.select(PACKED.names).serialize())


def _pack(client: int, facts: list[Fact], first: pa.Array, *contents: pa.Buffer) -> pa.RecordBatch:
    keys, rows = map(_one, contents) if contents else [pa.nulls(1, pa.binary())] * 2
    said = pa.array([client], pa.int32()), pa.array([facts], PACKS.field("facts").type)
    return pa.RecordBatch.from_arrays([*said, keys, first, rows], schema=PACKS)


def _one(content: pa.Buffer) -> pa.Array:
    """Return an array of one value, without a copy of it."""
    return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(np.array([0, content.size], np.int32)), content])


def id_hashes(ids: pa.Array) -> np.ndarray:
    """Return the xxhash64 of each id, int64, as Spark's function of that name gives it."""
    return _hashes(ids, xxhash.xxh64_intdigest, _SPARKS_SEED)


def _other_hashes(ids: pa.Array) -> np.ndarray:
    """Return another hash of each id: of two ids, a collision in both is none that anybody will see."""
    return _hashes(ids, xxhash.xxh3_64_intdigest, 0)


def _hashes(ids: pa.Array, hash_of: Callable[[bytes, int], int], seed: int) -> np.ndarray:
    texts = ids.cast(pa.binary()).to_pylist()
    return np.fromiter((hash_of(text, seed) for text in texts), np.uint64, len(texts)).view(np.int64)


def read_keys(content: Content) -> np.ndarray:
    """Return a pack's `keys`, int64 (3, sound rows): two hashes of each id, and the number of its row."""
    return np.frombuffer(content, np.int64).reshape(3, -1)


def rows_of(content: Content) -> pa.RecordBatch:
    """Return the rows of a pack."""
    return pa.ipc.read_record_batch(pa.py_buffer(content), PACKED)


def rows_in(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of packs, each with its client: what a task that has `client`, `rows` of them does first."""
    for batch in batches:
        for client, content in zip(batch["client"].to_pylist(), batch["rows"], strict=True):
            yield client, rows_of(content.as_buffer())


def sound(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows without a fault."""
    faults = rows["fault"]
    return rows if faults.null_count == len(faults) else rows.filter(pc.is_null(faults))


def value_frame(rows: pa.RecordBatch, features: Features) -> pd.DataFrame:
    """Return the sound rows as PRODUCT_ID, ROW, CATEGORY_ID (None where there is none) and the features.

    Numbers are float64, NaN where missing; words str, None where missing. `features` are those that were read.
    """
    rows = sound(rows)
    numeric = [name for name, kind in features.items() if kind == NUMERIC]
    words = [name for name, kind in features.items() if kind != NUMERIC]
    numbers = rows["numbers"].flatten().to_numpy(zero_copy_only=False)
    frame = pd.DataFrame(numbers.reshape(rows.num_rows, len(numeric)), columns=numeric)
    flat, starts = rows["words"].flatten(), np.arange(rows.num_rows) * len(words)
    texts = {
        name: flat.take(pa.array(starts + place)).to_numpy(zero_copy_only=False) for place, name in enumerate(words)
    }
    about = {PRODUCT_ID: arrow_texts(rows[PRODUCT_ID]), CATEGORY_ID: arrow_texts(rows[CATEGORY_ID]), ROW: rows["row"]}
    return pd.concat([pd.DataFrame({**about, **texts}), frame], axis=1)


def arrow_texts(texts: pa.Array) -> pd.api.extensions.ExtensionArray:
    """Return texts as a column that stays Arrow's."""
    return pd.arrays.ArrowExtensionArray(texts)


def packs_by_client(frames: Iterable[pd.DataFrame]) -> Iterator[tuple[int, Batches]]:
    """Yield the rows of packs, those of a client together, from `client`, `rows` as mapInPandas gives them to a task.

    A client comes again where others' packs lie between its own.
    """
    packs = (pack for frame in frames for pack in zip(frame["client"], frame["rows"], strict=True))
    for client, own in groupby(packs, key=itemgetter(0)):
        yield client, (rows_of(content) for _, content in own)


def value_frames(packs: Batches, features: Features) -> Iterator[pd.DataFrame]:
    """Yield `value_frame`s of at most 10,000 rows."""
    for rows in _even(packs):
        yield value_frame(rows, features)


def _even(packs: Batches) -> Batches:
    """Yield the sound rows of packs in their order: at most _BATCH_ROWS at once, and of small packs _BATCH_BYTES."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0  # of those that wait
    for pack in map(sound, packs):
        for start in range(0, pack.num_rows, _BATCH_ROWS):
            part = pack.slice(start, _BATCH_ROWS)
            if waiting and (rows + part.num_rows > _BATCH_ROWS or size + part.nbytes > _BATCH_BYTES):
                yield pa.concat_batches(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
    if waiting:
        yield pa.concat_batches(waiting)
