"""The files of a client's partition as DataFrames whose columns are matched by name, file by file.

csv, csv.gz and parquet, side by side if need be. What a value means is not decided here: CSV columns stay text.
"""

from collections.abc import Iterator, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, StringType, StructField, StructType

from bc4all.columns import check_columns, data_names, file_kind, header_names, is_data
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
    if [entry for entry in files.listing(folder) if is_data(entry.name)] != list(before):
        raise TransientFailure(
            "the partition changed while it was read", folder, "nothing was published; run it again when it is complete"
        )


def read_rows(
    spark: SparkSession,
    files: FileSystem,
    entries: Sequence[Entry],
    names: Sequence[str],
    texts: Sequence[str] = (),
    by_line: bool = False,
) -> list[DataFrame]:
    """Every row of the files, one DataFrame for each set of columns met: `names`, `_line`, `_file`.

    A quoted CSV value may hold line breaks. So a quote that is never closed swallows what follows, up to the next one
    or the end of the file: `by_line` takes records apart again that do not split into the header's columns, or that
    hold a line break in one of `names`; in those of `texts` among them, a break is sound unless what follows it looks
    like a record.
    Raises DataError where a file is of another kind, or a column missing or doubled.
    """
    alike: dict[tuple[str, _Columns], list[str]] = {}
    for entry in entries:
        kind = file_kind(entry.uri)
        columns = _csv_columns(files, entry) if kind == "csv" else tuple(files.parquet_columns(entry.uri))
        if columns:
            check_columns(entry.uri, [name for name, _ in columns], names)
            alike.setdefault((kind, columns), []).append(escape_glob(entry.uri))
    return list(_frames(spark, alike, names, texts, by_line))


def has_break(text: Column) -> Column:
    """Whether a text goes over several lines."""
    return F.coalesce(text.rlike(_BREAK), F.lit(False))


def _frames(
    spark: SparkSession,
    alike: dict[tuple[str, _Columns], list[str]],
    names: Sequence[str],
    texts: Sequence[str],
    by_line: bool,
) -> Iterator[DataFrame]:
    for (kind, columns), paths in alike.items():
        if kind == "csv":
            yield _read_csv(spark, paths, [name for name, _ in columns], names, texts, by_line)
        else:
            rows = spark.read.parquet(*paths)
            line = F.lit(None).cast("string").alias(LINE)
            yield rows.select(*[named(name) for name in names], line, F.input_file_name().alias(FILE))


def _read_csv(
    spark: SparkSession, paths: list[str], header: list[str], names: Sequence[str], texts: Sequence[str], by_line: bool
) -> DataFrame:
    # Columns go by place, so that Spark's case-blind and dotted names cannot confuse the file's own.
    places = _text_columns(len(header))
    wanted = {name: f"c{header.index(name)}" for name in names}
    reader = spark.read.options(**_CSV, header="true", multiLine="true", maxColumns=len(header) + 100)
    # Read as if there were one column of truth values, (nearly) every record is malformed, and comes as text.
    as_text = StructType([StructField("c0", BooleanType()), StructField(LINE, StringType())])
    rows = reader.schema(as_text if by_line else places).csv(paths).withColumn(FILE, F.input_file_name())
    on_one_line = [place for name, place in wanted.items() if name not in texts]
    over_several = [wanted[name] for name in texts]
    if by_line:
        rows = _taken_apart(rows, places, on_one_line, over_several)
    else:
        for place in over_several:
            torn = _holds_record(F.col(place), int(place[1:]), len(header))
            rows = rows.withColumn(LINE, F.when(torn, F.col(place)).otherwise(F.col(LINE)))
    blank = F.coalesce(F.col(LINE).rlike(r"^\s*$"), F.lit(False))
    return rows.where(~blank).select(*[F.col(place).alias(name) for name, place in wanted.items()], LINE, FILE)


def _text_columns(count: int) -> StructType:
    """c0, c1, … and `_line`, all text."""
    return StructType([StructField(name, StringType()) for name in (*(f"c{i}" for i in range(count)), LINE)])


def _holds_record(text: Column, column: int, columns: int) -> Column:
    """Whether a text of a file's `column` (of so many) has the commas of records that a stray quote has swallowed.

    That is a whole record between two line breaks, or the rest of one record and the beginning of another.
    """
    commas = r"(?:[^\r\n,]*,)"  # without a choice where one ends: texts are long, and hostile ones too
    whole = rf"[\r\n]{commas}{{{columns - 1}}}[^\r\n]*[\r\n]"
    two_halves = rf"^{commas}{{{columns - 1 - column}}}[^\r\n]*[\r\n]+{commas}{{{column}}}[^\r\n]*$"
    return F.coalesce(text.rlike(rf"{whole}|{two_halves}"), F.lit(False)) & has_break(text)


def _taken_apart(
    records: DataFrame, places: StructType, on_one_line: Sequence[str], over_several: Sequence[str]
) -> DataFrame:
    """The rows of records that are text still: of torn ones each line, of the others the record."""
    text = F.coalesce(F.col(LINE), F.col("c0").cast("string"))
    read = F.from_csv(text, places.toDDL(), _CSV)
    broken = [has_break(read[place]) for place in on_one_line]
    broken += [_holds_record(read[place], int(place[1:]), len(places) - 1) for place in over_several]
    torn = has_break(text) & reduce(Column.__or__, broken, read[LINE].isNotNull())
    lines = F.when(torn, F.split(text, _BREAK)).otherwise(F.array(text))
    each = records.select(F.explode(lines).alias("_text"), torn.alias("_torn"), FILE)
    # The end of a record with a line break can look like a record of its own: its quotes tell.
    quotes = F.length("_text") - F.length(F.replace(F.col("_text"), F.lit('"'), F.lit("")))
    again = F.from_csv("_text", places.toDDL(), _CSV)
    values = {name: again[name] for name in places.names}
    values[LINE] = F.when(F.col("_torn") & (quotes % 2 != 0), F.col("_text")).otherwise(again[LINE])
    not_empty = each.where(F.trim("_text") != "")
    return not_empty.select(*[value.alias(name) for name, value in values.items()], FILE)


def _csv_columns(files: FileSystem, entry: Entry) -> _Columns:
    """The header's names; empty for a file of no bytes."""
    line = files.first_line(entry.uri)
    return () if line is None else tuple((name, "text") for name in header_names(line))
