"""A small parquet file's bytes -> its rows, as `rows.read_csv` gives those of a CSV file."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bc4all.errors import DataError
from bc4all.kinds import NUMERIC
from bc4all.reading.rows import Wanted, file_end, value_rows

MAX_BATCH_BYTES = 1 << 20  # of the rows in a pack: Spark cuts by rows, which of ten thousand columns are a gigabyte
_MAX_CELLS = 100_000  # unpacked at once


def read_parquet(uri: str, file: int, content: memoryview, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a parquet file, number `file` of its partition; the last one is its end.

    Its wanted columns are text, integers or truth values, numeric features perhaps floating.
    """
    rows, fault = 0, None
    batches = _batches(content, wanted.names)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            fault = str(DataError(f"{uri} is truncated or damaged", str(error)[:200], "deliver it again"))
            break
        if batch is None:
            break
        columns = {name: _plain(batch[name], wanted.features.get(name)) for name in wanted.names}
        places = np.arange(rows, rows + batch.num_rows)
        yield value_rows(columns, wanted, np.full(len(places), file), places, np.ones(len(places)))
        rows += len(places)
    yield file_end(file, rows, rows, 0, fault)


def _batches(content: memoryview, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    table = pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)))
    yield from small_batches(table.iter_batches(max(1, _MAX_CELLS // len(names)), columns=list(names)))


def small_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches cut to MAX_BATCH_BYTES, or to single rows."""
    for batch in batches:
        rows = max(1, batch.num_rows * MAX_BATCH_BYTES // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _plain(column: pa.Array, kind: str | None) -> pa.Array:
    """Return a column as Spark's reader would give it: numbers as float64, texts as bytes, all else as it is."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.binary())  # which may be no UTF-8
    is_number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    return column.cast(pa.float64()) if kind == NUMERIC and is_number else column
