"""The files of a client's partition as DataFrames whose columns are matched by name, file by file.

csv, csv.gz and parquet, side by side if need be. What a value means is not decided here: CSV columns stay text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, StringType, StructField, StructType

from bc4all.column_names import FILE, LINE, LINES, TEXT
from bc4all.data.columns import LINE_OF_TEXT, Header, check_columns, data_names, file_kind, find_header, is_data
from bc4all.data.delivery import changed, check_listed
from bc4all.data.filesystem import Entry, FileSystem, escape_glob
from bc4all.errors import Failure


@dataclass(frozen=True)
class Footer:
    """What a parquet file says of itself: its columns as (name, type), and how many rows it has."""

    columns: tuple[tuple[str, str], ...]
    rows: int


Heads = Mapping[Entry, Header | Footer | None]  # None for a file of blank lines alone
_BREAK = r"\r\n|\r|\n"
_CSV = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": LINE,
    "columnPruning": "false",  # a pruned record's columns are not counted: nothing would be malformed
    "escape": '"',  # RFC 4180 doubles a quote; Spark would expect a backslash
}


def named(name: str) -> Column:
    """Return the column of exactly this name, whatever is in it: Spark would take a dot for a field of a structure."""
    return F.col("`{}`".format(name.replace("`", "``")))


def data_files(files: FileSystem, folder: str) -> list[Entry]:
    """Return the data files of a partition, by name.

    Raises DataError where the folder is missing or empty, or holds a name that leads to no file.
    """
    entries = _data_entries(files, folder)
    data_names(folder, [entry.name for entry in entries])
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


def read_heads(files: FileSystem, entries: Sequence[Entry], names: Sequence[str]) -> Heads:
    """Return the header or footer of each file.

    Raises DataError where a file is of another kind, or a column missing or doubled.
    """
    heads: dict[Entry, Header | Footer | None] = {}
    for entry in entries:
        if file_kind(entry.uri) == "csv":
            heads[entry] = header = find_header(entry.uri, partial(files.head, entry.uri))
            columns = header.names if header else tuple(names)
        else:
            heads[entry] = footer = Footer(*files.parquet_footer(entry.uri))
            columns = tuple(name for name, _ in footer.columns)
        check_columns(entry.uri, columns, names)
    return heads


def read_rows(
    spark: SparkSession, heads: Heads, names: Sequence[str], texts: Sequence[str] = (), by_line: bool = False
) -> list[DataFrame]:
    """Return every row of the files, one DataFrame for each set of columns met: `names`, `_line`, `_file`, `_lines`.

    A quoted CSV value may hold line breaks. So a quote that is never closed swallows what follows, up to the next one
    or the end of the file: `by_line` takes records apart again that do not split into the header's columns, or that
    hold a line break in one of `names`; in those of `texts` among them, a break is sound unless what follows it looks
    like a record.
    """
    alike: dict[Header | tuple[tuple[str, str], ...], list[str]] = {}
    for entry, head in heads.items():
        if head:
            alike.setdefault(head.columns if isinstance(head, Footer) else head, []).append(escape_glob(entry.uri))
    return [
        _read_csv(spark, paths, key, names, texts, by_line or key.after_blank)
        if isinstance(key, Header)
        else _read_parquet(spark, paths, names)
        for key, paths in alike.items()
    ]


def has_break(text: Column) -> Column:
    """Return whether a text goes over several lines."""
    return F.coalesce(text.rlike(_BREAK), F.lit(False))


def _read_parquet(spark: SparkSession, paths: list[str], names: Sequence[str]) -> DataFrame:
    rows = spark.read.parquet(*paths)
    line = F.lit(None).cast("string").alias(LINE)
    file = F.input_file_name().alias(FILE)
    return rows.select(*[named(name) for name in names], line, file, F.lit(1).alias(LINES))


def _read_csv(
    spark: SparkSession, paths: list[str], header: Header, names: Sequence[str], texts: Sequence[str], by_line: bool
) -> DataFrame:
    # Columns go by place, so that Spark's case-blind and dotted names cannot confuse the file's own.
    places = _text_columns(len(header.names))
    wanted = {name: f"c{header.names.index(name)}" for name in names}
    on_one_line = [place for name, place in wanted.items() if name not in texts]
    over_several = [wanted[name] for name in texts]
    if by_line:
        records = _records(spark, paths, header)
        rows = _taken_apart(records, places, on_one_line, over_several)
    else:
        rows = _reader(spark, header).options(header=True).schema(places).csv(paths)
        rows = rows.withColumn(FILE, F.input_file_name())
        # The quotes keep a line break at a value's end inside the text.
        values = F.expr(f"array({', '.join(places.names[:-1])})")  # one call to Java, of ten thousand columns too
        joined = F.concat(F.lit('"'), F.array_join(values, '","', ""), F.lit('"'))
        rows = rows.withColumn(TEXT, F.coalesce(F.col(LINE), joined))
        rows = rows.withColumn(LINES, _lines_of_text(F.col(TEXT)))
        for place in over_several:
            torn = _holds_record(F.col(place), int(place[1:]), len(header.names))
            rows = rows.withColumn(LINE, F.when(torn, F.col(place)).otherwise(F.col(LINE)))
        rows = rows.where(F.col(LINE).isNull() | is_text(F.col(LINE)))
    return rows.select(*[F.col(place).alias(name) for name, place in wanted.items()], LINE, FILE, LINES)


def _records(spark: SparkSession, paths: list[str], header: Header) -> DataFrame:
    """Return each record that is not blank as its text (`_text`), without the header, and its file (`_file`)."""
    # Read as if there were one column of truth values, (nearly) every record is malformed, and comes as text.
    as_text = StructType([StructField("c0", BooleanType()), StructField(LINE, StringType())])
    # Spark would take a blank line for the header if it is not empty, and the first break for that of all lines.
    reader = _reader(spark, header).options(header=not header.after_blank, lineSep=header.line_break)
    rows = reader.schema(as_text).csv(paths)
    # What is neither is two quotes alone: no truth value, and not malformed.
    record = F.coalesce(F.col(LINE), F.col("c0").cast("string"), F.lit('""'))
    text = F.regexp_replace(record, r"[\r\n]+\z", "")
    records = rows.select(text.alias(TEXT), F.input_file_name().alias(FILE)).where(is_text(F.col(TEXT)))
    if not header.after_blank:
        return records
    in_order = Window.partitionBy(FILE).orderBy(F.monotonically_increasing_id())
    return records.withColumn("_place", F.row_number().over(in_order)).where("_place > 1").drop("_place")


def _reader(spark: SparkSession, header: Header) -> DataFrameReader:
    return spark.read.options(**_CSV, multiLine="true", maxColumns=len(header.names) + 100)


def is_text(line: Column) -> Column:
    """Tell whether there is more in a text than white space."""
    return line.rlike(r"\S")


def _lines_of_text(text: Column) -> Column:
    several = text.contains("\n") | text.contains("\r")  # to count is dear, and few records need it
    return F.when(several, F.regexp_count(text, F.lit(LINE_OF_TEXT))).otherwise(is_text(text).cast("int"))


def _text_columns(count: int) -> StructType:
    """c0, c1, … and `_line`, all text."""
    return StructType([StructField(name, StringType()) for name in (*(f"c{i}" for i in range(count)), LINE)])


def _holds_record(text: Column, column: int, columns: int) -> Column:
    """Return whether a text of a file's `column` has the commas of records that a stray quote has swallowed.

    That is a whole record between two line breaks, or the rest of one record and the beginning of another.
    """
    commas = r"(?:[^\r\n,]*,)"  # without a choice where one ends: texts are long, and hostile ones too
    whole = rf"[\r\n]{commas}{{{columns - 1}}}[^\r\n]*[\r\n]"
    two_halves = rf"^{commas}{{{columns - 1 - column}}}[^\r\n]*[\r\n]+{commas}{{{column}}}[^\r\n]*$"
    return F.coalesce(text.rlike(rf"{whole}|{two_halves}"), F.lit(False)) & has_break(text)


def _taken_apart(
    records: DataFrame, places: StructType, on_one_line: Sequence[str], over_several: Sequence[str]
) -> DataFrame:
    """Return the rows of records that are text still: of torn ones each line, of the others the record."""
    text = F.col(TEXT)
    read = F.from_csv(text, places.toDDL(), _CSV)
    broken = [has_break(read[place]) for place in on_one_line]
    broken += [_holds_record(read[place], int(place[1:]), len(places) - 1) for place in over_several]
    torn = has_break(text) & reduce(Column.__or__, broken, read[LINE].isNotNull())
    lines = F.when(torn, F.split(text, _BREAK)).otherwise(F.array(text))
    each = records.select(F.explode(lines).alias(TEXT), torn.alias("_torn"), FILE).where(is_text(text))
    # The end of a record with a line break can look like a record of its own: its quotes tell.
    quotes = F.length(TEXT) - F.length(F.replace(text, F.lit('"'), F.lit("")))
    again = F.from_csv(TEXT, places.toDDL(), _CSV)
    values = {name: again[name] for name in places.names}
    values[LINE] = F.when(F.col("_torn") & (quotes % 2 != 0), text).otherwise(again[LINE])
    return each.select(*[value.alias(name) for name, value in values.items()], FILE, _lines_of_text(text).alias(LINES))
