"""What Spark's tasks run on delivered files: batches of Spark's rows in, batches of `rows.SCHEMA` out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bc4all.reading.rows import DOUBLED, Wanted, read_csv, value_rows
from bc4all.reading.unpacking import Bytes, pieces_of, unpacked

Batches = Iterator[pa.RecordBatch]
MAX_BATCH_BYTES = 1 << 20  # Spark cuts by rows: of ten thousand columns its batches are a gigabyte


@dataclass(frozen=True)
class DeliveredFile:
    """A file by its place in the listing of its partition, and its URI."""

    number: int
    uri: str

    @property
    def is_packed(self) -> bool:
        """Whether its bytes are compressed."""
        return self.uri.endswith(".gz")


@dataclass(frozen=True)
class WholeFiles:
    """Reads CSV files that come whole: rows of `path`, by which `files` knows them, and `content`.

    Where one task has all the files of a client, `is_alone`, it finds the ids that come twice, too.
    """

    files: Mapping[str, DeliveredFile]
    wanted: Wanted
    is_alone: bool

    def __call__(self, batches: Batches) -> Batches:
        """Yield the rows of the files."""
        if not self.is_alone:
            return (rows for batch in batches for path, content in _pairs(batch) for rows in self._read(path, content))
        contents = sorted((pair for batch in batches for pair in _pairs(batch)), key=lambda pair: self._number(pair[0]))
        return _first_of_each(rows for path, content in contents for rows in self._read(path, content))

    def _number(self, path: str) -> int:
        return self.files[path].number

    def _read(self, path: str, content: memoryview) -> Batches:
        file, pieces = self.files[path], pieces_of(content)
        return read_csv(file.uri, file.number, unpacked(pieces) if file.is_packed else pieces, self.wanted)


def _pairs(batch: pa.RecordBatch) -> Iterator[tuple[str, memoryview]]:
    for path, content in zip(*batch.columns, strict=True):
        yield path.as_py(), memoryview(content.as_buffer())


def _first_of_each(batches: Iterable[pa.RecordBatch]) -> Batches:
    """Yield the batches; a sound row whose id a sound row before it has is marked as doubled."""
    ids: set[str] = set()
    for batch in batches:
        faults = batch["fault"].to_pylist()
        doubled = []
        for row, (product, fault, end) in enumerate(
            zip(batch["product_id"].to_pylist(), faults, batch["file_end"].is_valid().to_pylist(), strict=True)
        ):
            if fault is None and not end:
                if product in ids:
                    doubled.append(row)
                ids.add(product)
        if doubled:
            for row in doubled:
                faults[row] = DOUBLED
            place = batch.schema.get_field_index("fault")
            batch = batch.set_column(place, batch.schema.field(place), pa.array(faults, pa.string()))
        yield batch


@dataclass(frozen=True)
class Lines:
    """Reads one CSV file that comes line by line, in its order: rows of one column, its bytes without line break."""

    file: DeliveredFile
    wanted: Wanted
    line_break: bytes

    def __call__(self, batches: Batches) -> Batches:
        """Yield the rows of the file."""
        return read_csv(self.file.uri, self.file.number, self._pieces(batches), self.wanted)

    def _pieces(self, batches: Batches) -> Iterator[Bytes]:
        for batch in _small(batches):
            lines = pa.ListArray.from_arrays([0, batch.num_rows], batch.column(0))
            yield pc.binary_join(lines, self.line_break)[0].as_buffer().to_pybytes() + self.line_break


@dataclass(frozen=True)
class Table:
    """Reads rows of columns, as a parquet file has them: the wanted ones, and behind them `file` and `row` in it."""

    wanted: Wanted

    def __call__(self, batches: Batches) -> Batches:
        """Yield the rows."""
        for batch in _small(batches):
            columns = dict(zip(self.wanted.names, batch.columns, strict=False))
            file, row = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in batch.columns[-2:])
            yield value_rows(columns, self.wanted, file, row, np.ones(len(row)))


def _small(batches: Batches) -> Batches:
    """Yield the batches cut to MAX_BATCH_BYTES, or to single rows."""
    for batch in batches:
        rows = max(1, batch.num_rows * MAX_BATCH_BYTES // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
