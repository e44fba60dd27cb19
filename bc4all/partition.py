"""The files of a client's partition as DataFrames whose columns are matched by name, file by file.

csv, csv.gz and parquet, side by side if need be. What a value means is not decided here: CSV columns stay text.
"""

from collections.abc import Iterator, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from bc4all.columns import check_columns, data_names, file_kind, header_names
from bc4all.filesystem import Entry, FileSystem, escape_glob

LINE = "_line"  # the text of a CSV line that does not split into the header's columns, else null
FILE = "_file"  # the URI of the file that a row came from

_Columns = tuple[tuple[str, str], ...]  # (name, type) in the file's order


def data_files(files: FileSystem, folder: str) -> list[Entry]:
    """The data files of a partition, by name. Raises DataError where the folder is missing or empty."""
    entries = files.listing(folder)
    names = data_names(folder, [entry.name for entry in entries])
    return [entry for entry in entries if entry.name in names]


def read_rows(
    spark: SparkSession, files: FileSystem, entries: Sequence[Entry], names: Sequence[str]
) -> list[DataFrame]:
    """Every row of the files, one DataFrame for each set of columns met: `names`, `_line`, `_file`.

    Raises DataError where a file is of another kind, or a column missing or doubled.
    """
    alike: dict[tuple[str, _Columns], list[str]] = {}
    for entry in entries:
        kind = file_kind(entry.uri)
        columns = _csv_columns(files, entry) if kind == "csv" else tuple(files.parquet_columns(entry.uri))
        if columns:
            check_columns(entry.uri, [name for name, _ in columns], names)
            alike.setdefault((kind, columns), []).append(escape_glob(entry.uri))
    return list(_frames(spark, alike, names))


def _frames(
    spark: SparkSession, alike: dict[tuple[str, _Columns], list[str]], names: Sequence[str]
) -> Iterator[DataFrame]:
    for (kind, columns), paths in alike.items():
        if kind == "csv":
            yield _read_csv(spark, paths, [name for name, _ in columns], names)
        else:
            rows = spark.read.parquet(*paths)
            line = F.lit(None).cast("string").alias(LINE)
            yield rows.select(*[F.col(f"`{name}`") for name in names], line, F.input_file_name().alias(FILE))


def _read_csv(spark: SparkSession, paths: list[str], header: list[str], names: Sequence[str]) -> DataFrame:
    # Columns go by place, so that Spark's case-blind and dotted names cannot confuse the file's own.
    places = StructType(
        [StructField(f"c{i}", StringType()) for i in range(len(header))] + [StructField(LINE, StringType())]
    )
    rows = (
        spark.read.schema(places)
        .option("header", True)
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", LINE)
        .option("columnPruning", False)  # a pruned line's columns are not counted: nothing would be malformed
        .option("escape", '"')  # RFC 4180 doubles a quote; Spark would expect a backslash
        .csv(paths)
    )
    wanted = [F.col(f"c{header.index(name)}").alias(name) for name in names]
    return rows.select(*wanted, F.col(LINE), F.input_file_name().alias(FILE))


def _csv_columns(files: FileSystem, entry: Entry) -> _Columns:
    """The header's names; empty for a file of no bytes."""
    line = files.first_line(entry.uri)
    return () if line is None else tuple((name, "text") for name in header_names(line))
