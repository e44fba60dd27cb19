"""What Spark's tasks run on delivered files: batches of Spark's rows in, packs of their rows out."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bc4all.reading.doubles import mark_all
from bc4all.reading.packs import Batches, packed
from bc4all.reading.rows import Wanted, read_csv, value_rows
from bc4all.reading.tables import read_parquet, small_batches
from bc4all.reading.unpacking import Bytes, pieces_of, unpacked


@dataclass(frozen=True)
class DeliveredFile:
    """A file by its client's number, its place in the listing of its partition, and its URI."""

    client: int
    number: int
    uri: str

    @property
    def is_parquet(self) -> bool:
        """Whether it is no CSV file."""
        return self.uri.endswith(".parquet")

    @property
    def is_packed(self) -> bool:
        """Whether its bytes are compressed."""
        return self.uri.endswith(".gz")


_Content: TypeAlias = tuple[DeliveredFile, memoryview]


@dataclass(frozen=True)
class WholeFiles:
    """Reads files that come whole, CSV or parquet: rows of `path`, by which `files` knows them, and `content`.

    Where the task has all the files of the `alone` clients, it finds their ids that come twice, too. With `in_order`,
    it has all files there are.
    """

    files: Mapping[str, DeliveredFile]
    wanted: Mapping[int, Wanted]
    alone: Set[int]
    in_order: bool

    def __call__(self, batches: Batches) -> Batches:
        """Yield the packs of the files."""
        contents: Iterable[_Content] = (content for batch in batches for content in self._contents(batch))
        if self.in_order:
            contents = sorted(contents, key=lambda content: content[0].number)
        for client, own in groupby(contents, key=lambda content: content[0].client):
            rows = (rows for content in own for rows in self._read(*content))
            for some in mark_all(rows) if client in self.alone else rows:
                yield packed(client, some, self.wanted[client])

    def _contents(self, batch: pa.RecordBatch) -> Iterator[_Content]:
        for path, content in zip(*batch.columns, strict=True):
            yield self.files[path.as_py()], memoryview(content.as_buffer())

    def _read(self, file: DeliveredFile, content: memoryview) -> Batches:
        if file.is_parquet:
            return read_parquet(file.uri, file.number, content, self.wanted[file.client])
        pieces = pieces_of(content)
        packed_or_not = unpacked(pieces) if file.is_packed else pieces
        return read_csv(file.uri, file.number, packed_or_not, self.wanted[file.client])


@dataclass(frozen=True)
class Lines:
    """Reads one CSV file that comes line by line, in its order: rows of one column, its bytes without line break."""

    file: DeliveredFile
    wanted: Wanted
    line_break: bytes

    def __call__(self, batches: Batches) -> Batches:
        """Yield the packs of the file."""
        rows = read_csv(self.file.uri, self.file.number, self._pieces(batches), self.wanted)
        return (packed(self.file.client, some, self.wanted) for some in rows)

    def _pieces(self, batches: Batches) -> Iterator[Bytes]:
        for batch in small_batches(batches):
            lines = pa.ListArray.from_arrays([0, batch.num_rows], batch.column(0))
            yield pc.binary_join(lines, self.line_break)[0].as_buffer().to_pybytes() + self.line_break


@dataclass(frozen=True)
class Table:
    """Reads rows of columns, as parquet files have them: the wanted ones, and behind them `client`, `file` and `row`.

    All clients want the same columns.
    """

    wanted: Mapping[int, Wanted]

    def __call__(self, batches: Batches) -> Batches:
        """Yield their packs."""
        for batch in small_batches(batches):
            clients = batch.column(batch.num_columns - 3).to_numpy(zero_copy_only=False)
            edges = [0, *(np.flatnonzero(np.diff(clients)) + 1), len(clients)]
            for start, stop in pairwise(edges):
                yield self._packed(int(clients[start]), batch.slice(start, stop - start))

    def _packed(self, client: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        wanted = self.wanted[client]
        columns = dict(zip(wanted.names, batch.columns, strict=False))
        file, row = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in batch.columns[-2:])
        return packed(client, value_rows(columns, wanted, file, row, np.ones(len(row))), wanted)
