"""The files of a client's partition: which there are, and what their first or last bytes say of their columns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    IntegralType,
    NumericType,
    StringType,
    StructField,
    StructType,
)

from bc4all.data.delivery import changed, check_listed, check_name, data_names, file_kind, is_data, wrong_type
from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.errors import Failure
from bc4all.kinds import NUMERIC, Features
from bc4all.reading.header import Header, check_columns, find_header
from bc4all.reading.rows import Wanted


@dataclass(frozen=True)
class Footer:
    """What a parquet file says of itself: its wanted columns, and how many rows it has."""

    schema: StructType
    rows: int

    def is_plain(self, features: Features) -> bool:
        """Return whether pyarrow reads the wanted columns to the same values as Spark: no text of fractions, say."""
        return all(_is_plain(field, features.get(field.name)) for field in self.schema)


def _is_plain(field: StructField, kind: str | None) -> bool:
    text = StringType, IntegralType, BooleanType
    taken = (*text, FloatType, DoubleType) if kind == NUMERIC else text
    return isinstance(field.dataType, taken) and "." not in field.name  # with a dot it may be a field of a structure


Heads = Mapping[Entry, Header | Footer | None]  # None for a file of blank lines alone


def named(name: str) -> Column:
    """Return the column of exactly this name, whatever is in it: Spark would take a dot for a field of a structure."""
    return F.col(quoted(name))


def quoted(name: str) -> str:
    """Return a column's name as Spark's SQL takes it for a name, whatever is in it."""
    return "`{}`".format(name.replace("`", "``"))


def data_files(files: FileSystem, folder: str) -> list[Entry]:
    """Return the data files of a partition, by name.

    Raises DataError where the folder is missing or empty, or holds a name that leads to no file that can be opened.
    """
    entries = _data_entries(files, folder)
    data_names(folder, [entry.name for entry in entries])
    for entry in entries:
        check_name(entry.uri, entry.is_file)
    return entries


def check_unchanged(files: FileSystem, folder: str, before: Sequence[Entry]) -> None:
    """Raise TransientFailure where a partition's files are not those that were listed `before`."""
    if _data_entries(files, folder) != list(before):
        raise changed(folder)


@contextmanager
def blaming_changes(files: FileSystem, folder: str, before: Sequence[Entry]) -> Iterator[None]:
    """Raise TransientFailure for any failure inside, if the partition's files changed: that is why."""
    try:
        yield
    except (Failure, Py4JError, PySparkException):
        check_unchanged(files, folder, before)
        raise


def _data_entries(files: FileSystem, folder: str) -> list[Entry]:
    entries: list[Entry] = []

    def listing() -> list[str]:
        entries[:] = files.listing(folder)
        return [entry.name for entry in entries]

    path = files.local_folder(folder)
    if path is None:
        listing()
    else:
        check_listed(folder, path, listing)
    return [entry for entry in entries if is_data(entry.name)]


def read_heads(files: FileSystem, entries: Sequence[Entry], wanted: Wanted) -> Heads:
    """Return the header or footer of each file.

    Raises DataError where a file is of another kind, or a wanted column missing, doubled, or of another type.
    """
    return {
        entry: _read_header(files, entry.uri, wanted)
        if file_kind(entry.uri) == "csv"
        else _read_footer(files, entry.uri, wanted)
        for entry in entries
    }


def _read_header(files: FileSystem, uri: str, wanted: Wanted) -> Header | None:
    header = find_header(uri, partial(files.head, uri))
    if header:
        check_columns(uri, header.names, wanted.names)
    return header


def _read_footer(files: FileSystem, uri: str, wanted: Wanted) -> Footer:
    columns, rows = files.parquet_footer(uri)
    check_columns(uri, [name for name, _ in columns], wanted.names)
    by_name = dict(columns)
    types = files.spark_types([by_name[name] for name in wanted.names])
    fields = [
        StructField(name, _checked_type(uri, name, type_, by_name[name], wanted.features.get(name)))
        for name, type_ in zip(wanted.names, types, strict=True)
    ]
    return Footer(StructType(fields), rows)


def _checked_type(uri: str, name: str, type_: DataType | None, column: Any, kind: str | None) -> DataType:
    """Return the type of a wanted column as Spark has it. Raises DataError where it is none that is taken."""
    if kind is None:  # an id or a category
        taken: tuple[type[DataType], ...] = (StringType, IntegralType)
    else:
        taken = (NumericType, StringType) if kind == NUMERIC else (StringType, NumericType, BooleanType)
    if not isinstance(type_, taken):
        shown = column.toString() if type_ is None else type_.simpleString()
        raise wrong_type(uri, name, shown, kind)
    return type_
