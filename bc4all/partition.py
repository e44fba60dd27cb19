"""The files of a client's partition as DataFrames whose columns are matched by name, file by file.

csv, csv.gz and parquet, side by side if need be. What a value means is not decided here: CSV columns stay text.
"""

from collections.abc import Iterator, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from bc4all.columns import check_columns, data_names, file_kind, header_names
from bc4all.errors import TransientFailure
from bc4all.filesystem import Entry, FileSystem, escape_glob

LINE = "_line"  # the text of a CSV record that does not split into the header's columns, else null
FILE = "_file"  # the URI of the file that a row came from

_Columns = tuple[tuple[str, str], ...]  # (name, type) in the file's order
_BREAK = r"\r\n|\r|\n"
_CSV = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": LINE,
    "columnPruning": "false",  # a pruned record's columns are not counted: nothing would be malformed
    "escape": '"',  # RFC 4180 doubles a quote; Spark would expect a backslash
}


def named(name: str) -> Column:
    """The column of exactly this name, whatever is in it: Spark would take a dot for a field of a structure."""
    return F.col("`{}`".format(name.replace("`", "``")))


def data_files(files: FileSystem, folder: str) -> list[Entry]:
    """The data files of a partition, by name. Raises DataError where the folder is missing or empty."""
    entries = files.listing(folder)
    names = data_names(folder, [entry.name for entry in entries])
    return [entry for entry in entries if entry.name in names]


def check_unchanged(files: FileSystem, folder: str, before: Sequence[Entry]) -> None:
    """Raise TransientFailure where a partition's files are not those that were listed `before`."""
    if data_files(files, folder) != list(before):
        raise TransientFailure(
            "the partition changed while it was read", folder, "nothing was published; run it again when it is complete"
        )


def read_rows(
    spark: SparkSession, files: FileSystem, entries: Sequence[Entry], names: Sequence[str], by_line: bool = False
) -> list[DataFrame]:
    """Every row of the files, one DataFrame for each set of columns met: `names`, `_line`, `_file`.

    A quoted CSV value may hold line breaks. So a quote that is never closed swallows what follows, up to the next one:
    such a record, which does not split into the header's columns, is taken apart again `by_line`.
    Raises DataError where a file is of another kind, or a column missing or doubled.
    """
    alike: dict[tuple[str, _Columns], list[str]] = {}
    for entry in entries:
        kind = file_kind(entry.uri)
        columns = _csv_columns(files, entry) if kind == "csv" else tuple(files.parquet_columns(entry.uri))
        if columns:
            check_columns(entry.uri, [name for name, _ in columns], names)
            alike.setdefault((kind, columns), []).append(escape_glob(entry.uri))
    return list(_frames(spark, alike, names, by_line))


def is_torn(line: Column) -> Column:
    """Whether a record that does not split (its text in `line`) may have swallowed others."""
    return F.coalesce(line.rlike(_BREAK), F.lit(False))


def _frames(
    spark: SparkSession, alike: dict[tuple[str, _Columns], list[str]], names: Sequence[str], by_line: bool
) -> Iterator[DataFrame]:
    for (kind, columns), paths in alike.items():
        if kind == "csv":
            yield _read_csv(spark, paths, [name for name, _ in columns], names, by_line)
        else:
            rows = spark.read.parquet(*paths)
            line = F.lit(None).cast("string").alias(LINE)
            yield rows.select(*[named(name) for name in names], line, F.input_file_name().alias(FILE))


def _read_csv(
    spark: SparkSession, paths: list[str], header: list[str], names: Sequence[str], by_line: bool
) -> DataFrame:
    # Columns go by place, so that Spark's case-blind and dotted names cannot confuse the file's own.
    places = StructType(
        [StructField(f"c{i}", StringType()) for i in range(len(header))] + [StructField(LINE, StringType())]
    )
    reader = spark.read.schema(places).options(**_CSV, header="true", multiLine="true", maxColumns=len(header) + 100)
    rows = reader.csv(paths).withColumn(FILE, F.input_file_name())
    if by_line:
        rows = _taken_apart(rows, places)
    blank = F.coalesce(F.col(LINE).rlike(r"^\s*$"), F.lit(False))
    wanted = [F.col(f"c{header.index(name)}").alias(name) for name in names]
    return rows.where(~blank).select(*wanted, LINE, FILE)


def _taken_apart(rows: DataFrame, places: StructType) -> DataFrame:
    """The rows, each torn record replaced by its lines, read one by one."""
    text = F.col("_text")
    lines = F.when(is_torn(F.col(LINE)), F.split(LINE, _BREAK)).otherwise(F.array(F.lit(None).cast("string")))
    each = rows.withColumn("_text", F.explode(lines)).where(text.isNull() | (F.trim(text) != ""))
    read = F.from_csv(text, places.toDDL(), _CSV)
    again = {name: F.when(text.isNull(), F.col(name)).otherwise(read[name]) for name in places.names}
    # The end of a record with a line break can look like a record of its own: its quotes tell.
    odd = F.length(text) % 2 != F.length(F.replace(text, F.lit('"'), F.lit(""))) % 2
    again[LINE] = F.when(odd, text).otherwise(again[LINE])
    return each.select(*[column.alias(name) for name, column in again.items()], FILE)


def _csv_columns(files: FileSystem, entry: Entry) -> _Columns:
    """The header's names; empty for a file of no bytes."""
    line = files.first_line(entry.uri)
    return () if line is None else tuple((name, "text") for name in header_names(line))
