"""Delivered files -> the tasks that read them: whole where they are small, line by line or column by column else."""

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import NumericType, StructField, StructType

from bc4all.data.filesystem import Entry, FileSystem, escape_glob
from bc4all.data.partition import Footer, Heads, named
from bc4all.kinds import NUMERIC
from bc4all.reading.header import Header
from bc4all.reading.packs import PACKS
from bc4all.reading.rows import Wanted
from bc4all.reading.worker import DeliveredFile, Lines, Table, WholeFiles

COLUMNS = from_arrow_schema(PACKS)
MAX_WHOLE_BYTES = 32 << 20  # as delivered: a task holds such a file whole, and what it unpacks in pieces
_STRICT = {"ignoreCorruptFiles": "false", "ignoreMissingFiles": "false"}  # whatever a cluster's own defaults are
_UNSPLIT = {"spark.sql.files.maxPartitionBytes": str(1 << 62), "spark.sql.files.openCostInBytes": str(1 << 61)}


def read_packs(spark: SparkSession, files: FileSystem, heads: Heads, wanted: Wanted) -> tuple[DataFrame, bool]:
    """Return the packs of delivered files' rows, and whether ids that come twice are marked among them."""
    numbered = [(DeliveredFile(number, entry.uri), entry, head) for number, (entry, head) in enumerate(heads.items())]
    whole = [file for file, entry, head in numbered if _is_whole(entry, head)]
    is_alone = len(whole) == len(heads) and sum(entry.size for entry in heads) <= MAX_WHOLE_BYTES
    parts = [_read_whole(spark, files, whole, wanted, is_alone)] if whole else []
    parts += [
        _read_lines(spark, file, head, wanted)
        for file, entry, head in numbered
        if isinstance(head, Header) and not _is_whole(entry, head)
    ]
    tables: dict[str, tuple[StructType, list[DeliveredFile]]] = {}
    for file, _, head in numbered:
        if isinstance(head, Footer):
            tables.setdefault(head.schema.json(), (head.schema, []))[1].append(file)
    parts += [_read_tables(spark, files, alike, schema, wanted) for schema, alike in tables.values()]
    return reduce(DataFrame.unionByName, parts), is_alone


def _is_whole(entry: Entry, head: Header | Footer | None) -> bool:
    return not isinstance(head, Footer) and (head is None or entry.size <= MAX_WHOLE_BYTES)


def _read_whole(
    spark: SparkSession, files: FileSystem, chosen: Sequence[DeliveredFile], wanted: Wanted, is_alone: bool
) -> DataFrame:
    contents = spark.read.options(**_STRICT).format("binaryFile").load([escape_glob(file.uri) for file in chosen])
    read = WholeFiles({files.path(file.uri): file for file in chosen}, wanted, is_alone)
    contents = contents.select("path", "content")
    return (contents.coalesce(1) if is_alone else contents).mapInArrow(read.__call__, COLUMNS)


def _read_lines(spark: SparkSession, file: DeliveredFile, header: Header, wanted: Wanted) -> DataFrame:
    """Return the rows of a large file: Hadoop's reader finds its lines, in one task and in their order."""
    unsplit = spark.newSession()  # whose settings hold for these files alone
    for name, value in _UNSPLIT.items():
        unsplit.conf.set(name, value)
    lines = unsplit.read.options(**_STRICT).text(escape_glob(file.uri), lineSep=header.line_break.decode())
    return lines.select(F.col("value").cast("binary")).mapInArrow(
        Lines(file, wanted, header.line_break).__call__, COLUMNS
    )


def _read_tables(
    spark: SparkSession, files: FileSystem, chosen: Sequence[DeliveredFile], schema: StructType, wanted: Wanted
) -> DataFrame:
    """Return the rows of parquet files whose wanted columns have the types of `schema`."""
    rows = spark.read.options(**_STRICT).schema(schema).parquet(*[escape_glob(file.uri) for file in chosen])
    metadata = rows.metadataColumn("_metadata")
    numbers = [(files.escaped_path(file.uri), file.number) for file in chosen]
    columns = [_plain(field, wanted.features.get(field.name)).alias(f"c{at}") for at, field in enumerate(schema)]
    rows = rows.select(*columns, metadata["file_path"].alias("path"), metadata["row_index"].alias("row"))
    paths = F.broadcast(spark.createDataFrame(numbers, "path string, file long"))
    rows = rows.join(paths, "path").drop("path")
    rows = rows.select(*[f"c{at}" for at in range(len(columns))], "file", "row")
    return rows.mapInArrow(Table(wanted).__call__, COLUMNS)


def _plain(field: StructField, kind: str | None) -> Column:
    """Return a column as the worker takes it: a number as it is, all else as the bytes of Spark's text of it."""
    if kind == NUMERIC and isinstance(field.dataType, NumericType):
        return named(field.name).cast("double")
    return named(field.name).cast("string").cast("binary")  # which the worker sees to be UTF-8, or not
