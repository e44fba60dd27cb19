"""What Spark's tasks run on delivered files: batches of Spark's rows in, packs of their rows out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bc4all.reading.doubles import mark_all
from bc4all.reading.packs import Batches, packed
from bc4all.reading.rows import Wanted, read_csv, value_rows
from bc4all.reading.unpacking import Bytes, pieces_of, unpacked

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
        """Yield the packs of the files."""
        contents: Iterable[tuple[str, memoryview]] = (pair for batch in batches for pair in _pairs(batch))
        if self.is_alone:
            contents = sorted(contents, key=lambda pair: self._number(pair[0]))
        rows = (rows for path, content in contents for rows in self._read(path, content))
        return (packed(some, self.wanted) for some in (mark_all(rows) if self.is_alone else rows))

    def _number(self, path: str) -> int:
        return self.files[path].number

    def _read(self, path: str, content: memoryview) -> Batches:
        file, pieces = self.files[path], pieces_of(content)
        return read_csv(file.uri, file.number, unpacked(pieces) if file.is_packed else pieces, self.wanted)


def _pairs(batch: pa.RecordBatch) -> Iterator[tuple[str, memoryview]]:
    for path, content in zip(*batch.columns, strict=True):
        yield path.as_py(), memoryview(content.as_buffer())


@dataclass(frozen=True)
class Lines:
    """Reads one CSV file that comes line by line, in its order: rows of one column, its bytes without line break."""

    file: DeliveredFile
    wanted: Wanted
    line_break: bytes

    def __call__(self, batches: Batches) -> Batches:
        """Yield the packs of the file."""
        rows = read_csv(self.file.uri, self.file.number, self._pieces(batches), self.wanted)
        return (packed(some, self.wanted) for some in rows)

    def _pieces(self, batches: Batches) -> Iterator[Bytes]:
        for batch in _small(batches):
            lines = pa.ListArray.from_arrays([0, batch.num_rows], batch.column(0))
            yield pc.binary_join(lines, self.line_break)[0].as_buffer().to_pybytes() + self.line_break


@dataclass(frozen=True)
class Table:
    """Reads rows of columns, as a parquet file has them: the wanted ones, and behind them `file` and `row` in it."""

    wanted: Wanted

    def __call__(self, batches: Batches) -> Batches:
        """Yield their packs."""
        for batch in _small(batches):
            columns = dict(zip(self.wanted.names, batch.columns, strict=False))
            file, row = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in batch.columns[-2:])
            yield packed(value_rows(columns, self.wanted, file, row, np.ones(len(row))), self.wanted)


def _small(batches: Batches) -> Batches:
    """Yield the batches cut to MAX_BATCH_BYTES, or to single rows."""
    for batch in batches:
        rows = max(1, batch.num_rows * MAX_BATCH_BYTES // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
