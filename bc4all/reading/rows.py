"""A delivered CSV file's bytes -> its rows as Arrow batches: sound ones with their values, others with the reason.

Each line of text ends up in one row, or holds commas alone and is counted; behind a file's rows comes one that says how
many lines it has. Nothing here raises for what a file holds: the fault is in a row.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID
from bc4all.errors import DataError
from bc4all.kinds import TEXT, Features
from bc4all.reading.header import Header, check_columns, find_header
from bc4all.reading.records import EMPTY, ESCAPED_QUOTE, MALFORMED, MAX_RECORD_BYTES, Records, Shape, find_records
from bc4all.reading.texts import read_texts
from bc4all.reading.unpacking import Bytes, DamagedFile
from bc4all.reading.values import as_text, read_values

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # by file, then by place in it
        ("file", pa.int32()),
        ("product_id", pa.string()),
        ("category_id", pa.string()),
        ("numbers", pa.list_(pa.float64())),
        ("words", pa.list_(pa.string())),
        ("fault", pa.string()),  # null where the row is sound
        ("given", pa.list_(pa.string())),  # of a row with a fault: the wanted columns as text
        ("line", pa.string()),  # of a record that does not split into the header's columns
        ("lines", pa.int32()),  # of text, that the row takes
        # Of the row behind a file's last one alone: its lines of text, those of commas alone, why the file is refused.
        ("file_end", pa.struct([("lines", pa.int64()), ("empty", pa.int64()), ("fault", pa.string())])),
    ]
)
MALFORMED_LINE = "malformed CSV line"
_ESCAPED = f'{MALFORMED_LINE}: a quote is escaped by a backslash, which CSV doubles ("")'
_TOO_LONG = f"{MALFORMED_LINE}: longer than {MAX_RECORD_BYTES >> 20} MiB"
_MAX_LINE_BYTES = 1 << 16  # of a malformed line, kept
_PLACE_BITS = 40  # of a row's number, for its place in its file

_BREAK = re.compile(rb"\r\n|\r|\n")
_BREAKS = re.compile(rb"[\r\n]+")


@dataclass(frozen=True)
class Wanted:
    """What is read of each file: products with `features`, and their categories where they are `labelled`.

    `count` says what else is counted of a frame of sound rows: products by feature, bin, and whether it is of values
    that are new.
    """

    features: Features
    labelled: bool
    count: Callable[[pd.DataFrame], Iterable[tuple[str, str, bool, int]]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the wanted columns."""
        return (PRODUCT_ID, *([CATEGORY_ID] if self.labelled else []), *self.features)


def read_csv(uri: str, file: int, pieces: Iterable[Bytes], wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a CSV file, number `file` of its partition, from what it holds; the last one is its end."""
    reading = _Reading(file, wanted)
    fault = None
    try:
        source = iter(pieces)
        head, header = _read_head(uri, source)
        if header:
            check_columns(uri, header.names, wanted.names)
            yield from reading.rows(header, chain([head[header.end :]], source))
    except DamagedFile as error:
        fault = str(DataError(f"{uri} is truncated or damaged", str(error), "deliver it again"))
    except DataError as error:
        fault = str(error)
    yield reading.end(fault)


def _read_head(uri: str, source: Iterator[Bytes]) -> tuple[bytes, Header | None]:
    """Return the first bytes of a file, and its header, which is in them."""
    head = b""

    def read(size: int) -> bytes:
        nonlocal head
        while len(head) < size and (piece := next(source, None)) is not None:
            head += piece
        return head[:size]

    header = find_header(uri, read)
    return head, header


class _Reading:
    """The reading of one file: its rows' numbers and its lines are counted through."""

    def __init__(self, file: int, wanted: Wanted) -> None:
        self._file, self._wanted = file, wanted
        self._rows = self._lines = self._empty = 0

    def rows(self, header: Header, pieces: Iterable[Bytes]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of what comes after the header."""
        places = {name: number for number, name in enumerate(header.names)}
        numbers = [places[name] for name in self._wanted.names]
        texts = {places[name]: None for name, kind in self._wanted.features.items() if kind == TEXT}
        one_line = [number for number in numbers if number not in texts]
        shape = Shape(len(header.names), lambda fields: _is_torn(fields, one_line, list(texts)))
        rest, is_skipping = b"", False
        for piece in pieces:
            block = rest + piece
            if is_skipping:
                line_break = _BREAK.search(block)
                is_skipping = line_break is None
                block = block[line_break.start() :] if line_break else b""
            records, taken = find_records(block, shape, is_last=False)
            yield from self._batches(block, taken, records, shape.fields, numbers)
            rest = block[taken:]
            if not taken and len(rest) > MAX_RECORD_BYTES:
                yield self._refused([rest], [_TOO_LONG], np.array([self._rows]))
                rest = b"\r" if rest.endswith(b"\r") else b""  # which may be the first half of "\r\n"
                is_skipping = not rest
                self._rows, self._lines = self._rows + 1, self._lines + 1
        records, taken = find_records(rest, shape, is_last=True)
        yield from self._batches(rest, taken, records, shape.fields, numbers)

    def end(self, fault: str | None) -> pa.RecordBatch:
        """Return the row behind the last one."""
        return file_end(self._file, self._rows, self._lines, self._empty, fault)

    def _batches(
        self, block: bytes, taken: int, records: Records, fields: int, numbers: list[int]
    ) -> Iterator[pa.RecordBatch]:
        # Counted apart from what found the records: what is lost between here and the published rows is missed.
        self._lines += len(list(filter(bytes.strip, block[:taken].splitlines())))
        self._empty += int((records.states == EMPTY).sum())
        first = self._rows
        self._rows += len(records.starts)
        texts = read_texts(block, records, fields, numbers)
        if len(texts.records):
            columns = dict(zip(self._wanted.names, texts.columns, strict=True))
            files = np.full(len(texts.records), self._file)
            yield value_rows(columns, self._wanted, files, first + texts.records, records.lines[texts.records])
        malformed = np.flatnonzero(records.states == MALFORMED)
        if len(malformed):
            lines = [block[records.starts[at] : records.ends[at]] for at in malformed.tolist()]
            reasons = [_reason(line) for line in lines]
            yield self._refused(lines, reasons, first + malformed)

    def _refused(self, lines: list[bytes], reasons: list[str], rows: np.ndarray) -> pa.RecordBatch:
        return _batch(
            len(rows),
            row=_number(self._file, rows),
            file=np.full(len(rows), self._file),
            fault=reasons,
            line=[line[:_MAX_LINE_BYTES].decode(errors="replace") for line in lines],
            lines=np.ones(len(rows)),
        )


def file_end(file: int, rows: int, lines: int, empty: int, fault: str | None) -> pa.RecordBatch:
    """Return the row behind a file's last one: how many lines it has, how many of commas alone, why it is refused."""
    end = {"lines": lines, "empty": empty, "fault": fault}
    return _batch(1, row=[_number(file, rows)], file=[file], lines=[0], file_end=[end])


def _reason(line: bytes) -> str:
    """Return why a line is no record."""
    if len(line) > MAX_RECORD_BYTES:
        return _TOO_LONG
    return _ESCAPED if ESCAPED_QUOTE in line else MALFORMED_LINE


def value_rows(
    columns: Mapping[str, pa.Array], wanted: Wanted, files: np.ndarray, places: np.ndarray, lines: np.ndarray
) -> pa.RecordBatch:
    """Return the rows of the wanted columns, some with a fault; `files` and `places` say where each is from."""
    values = read_values(columns, wanted.features)
    return _batch(
        len(places),
        row=_number(files, places),
        file=files,
        product_id=values.products,
        category_id=values.categories,
        numbers=_lists(values.numbers.shape, pa.array(values.numbers.ravel())),
        words=_row_wise(values.words, len(places)),
        fault=values.faults,
        given=_given([columns[name] for name in wanted.names], values.faults),
        lines=lines,
    )


def _number(file: Any, place: Any) -> Any:
    """Return the number of a row, or of many, which rises with file and place."""
    return (file << _PLACE_BITS) + place


def _batch(rows: int, **columns: Any) -> pa.RecordBatch:
    """Return a batch by SCHEMA; columns that are not given, or None, are null."""
    arrays = []
    for field in SCHEMA:
        column = columns.get(field.name)
        if column is None:
            column = pa.nulls(rows, field.type)
        arrays.append(column if isinstance(column, pa.Array) else pa.array(column).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _lists(shape: tuple[int, ...], flat: pa.Array) -> pa.Array:
    """Return an array of `shape[0]` lists of `shape[1]` values each."""
    rows, values = shape
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * values), flat)


def _row_wise(columns: list[pa.Array], rows: int) -> pa.Array:
    """Return a list of each row's texts."""
    order = np.arange(rows * len(columns)).reshape(len(columns), rows).T.ravel()
    flat = pa.concat_arrays(columns).take(pa.array(order)) if columns else pa.array([], pa.string())
    return _lists((rows, len(columns)), flat)


def _given(columns: list[pa.Array], faults: pa.Array) -> pa.Array | None:
    """Return the texts of the rows with a fault, null for the others; None where there is no fault."""
    if faults.null_count == len(faults):
        return None
    places = np.flatnonzero(faults.is_valid().to_numpy(zero_copy_only=False))
    texts = [as_text(column.take(pa.array(places))).to_pylist() for column in columns]
    given: list[list[str | None] | None] = [None] * len(faults)
    for place, *row in zip(places.tolist(), *texts, strict=True):
        given[place] = row
    return pa.array(given, pa.list_(pa.string()))


def _is_torn(fields: list[bytes], one_line: list[int], texts: list[int]) -> bool:
    """Return whether a record over several lines is rather what a stray quote has swallowed."""
    if any(_BREAKS.search(fields[number]) for number in one_line):
        return True
    return any(_holds_record(fields[number], number, len(fields)) for number in texts)


def _holds_record(text: bytes, number: int, fields: int) -> bool:
    """Return whether a text has the commas of a whole record between two line breaks, or of two halves around one."""
    commas = [line.count(b",") for line in _BREAK.split(text)]
    if any(count >= fields - 1 for count in commas[1:-1]):
        return True
    halves = [line.count(b",") for line in _BREAKS.split(text)]
    return len(halves) == 2 and halves[0] >= fields - 1 - number and halves[1] >= number
