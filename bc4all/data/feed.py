"""Delivered files -> the tasks that read them: whole where they are small, line by line or column by column else."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import NumericType, StructField, StructType

from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem, escape_glob
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


@dataclass(frozen=True)
class Delivery:
    """One client's files with their headers or footers, the columns to read, and the client's number."""

    client: int
    heads: Heads
    wanted: Wanted

    @property
    def bytes(self) -> int:
        """The size of all files, as they lie in storage."""
        return sum(entry.size for entry in self.heads)


@dataclass(frozen=True)
class _File:
    """One file of a delivery."""

    delivered: DeliveredFile
    entry: Entry
    head: Header | Footer | None
    wanted: Wanted

    @property
    def is_whole(self) -> bool:
        """Whether a task gets it whole."""
        is_small = self.head is None or self.entry.size <= MAX_WHOLE_BYTES
        return is_small and (not isinstance(self.head, Footer) or self.head.is_plain(self.wanted.features))


def read_packs(spark: SparkSession, files: FileSystem, deliveries: Sequence[Delivery]) -> tuple[DataFrame, Set[int]]:
    """Return the packs of delivered files' rows, and the clients whose doubled ids are refused in them already.

    Those are the clients whose rows one task has all.
    """
    found = [
        _File(DeliveredFile(delivery.client, number, entry.uri), entry, head, delivery.wanted)
        for delivery in deliveries
        for number, (entry, head) in enumerate(delivery.heads.items())
    ]
    wanted = {delivery.client: delivery.wanted for delivery in deliveries}
    whole = [file.delivered for file in found if file.is_whole]
    in_order = len(deliveries) == 1 and len(whole) == len(found) and deliveries[0].bytes <= MAX_WHOLE_BYTES
    single = {delivery.client for delivery in deliveries if len(delivery.heads) == 1}
    alone = set(wanted) if in_order else single & {file.client for file in whole}
    parts = [_read_whole(spark, WholeFiles(_by_path(files, whole), wanted, alone, in_order))] if whole else []
    tables: dict[str, tuple[StructType, list[_File]]] = {}
    for file in found:
        if file.is_whole:
            continue
        if isinstance(file.head, Footer):
            schema = file.head.schema
            tables.setdefault(f"{schema.json()} {file.wanted.features}", (schema, []))[1].append(file)
        elif file.head:
            parts.append(_read_lines(spark, file, file.head.line_break))
    parts += [_read_tables(spark, files, schema, alike) for schema, alike in tables.values()]
    return reduce(DataFrame.unionByName, parts), alone


def _by_path(files: FileSystem, chosen: Sequence[DeliveredFile]) -> Mapping[str, DeliveredFile]:
    return {files.path(file.uri): file for file in chosen}


def _read_whole(spark: SparkSession, read: WholeFiles) -> DataFrame:
    uris = [escape_glob(file.uri) for file in read.files.values()]
    contents = spark.read.options(**_STRICT).format("binaryFile").load(uris).select("path", "content")
    return (contents.coalesce(1) if read.in_order else contents).mapInArrow(read.__call__, COLUMNS)


def _read_lines(spark: SparkSession, file: _File, line_break: bytes) -> DataFrame:
    """Return the rows of a large file: Hadoop's reader finds its lines, in one task and in their order."""
    unsplit = spark.newSession()  # whose settings hold for these files alone
    for name, value in _UNSPLIT.items():
        unsplit.conf.set(name, value)
    lines = unsplit.read.options(**_STRICT).text(escape_glob(file.entry.uri), lineSep=line_break.decode())
    read = Lines(file.delivered, file.wanted, line_break)
    return lines.select(F.col("value").cast("binary")).mapInArrow(read.__call__, COLUMNS)


def _read_tables(spark: SparkSession, files: FileSystem, schema: StructType, alike: Sequence[_File]) -> DataFrame:
    """Return the rows of parquet files whose wanted columns have the same kinds, and the types of `schema`."""
    features = alike[0].wanted.features
    rows = spark.read.options(**_STRICT).schema(schema).parquet(*[escape_glob(file.entry.uri) for file in alike])
    metadata = rows.metadataColumn("_metadata")
    numbers = [(files.escaped_path(file.entry.uri), file.delivered.client, file.delivered.number) for file in alike]
    columns = [_plain(field, features.get(field.name)).alias(f"c{at}") for at, field in enumerate(schema)]
    rows = rows.select(*columns, metadata["file_path"].alias("path"), metadata["row_index"].alias("row"))
    paths = F.broadcast(spark.createDataFrame(numbers, "path string, client int, file long"))
    rows = rows.join(paths, "path").drop("path")
    rows = rows.select(*[f"c{at}" for at in range(len(columns))], "client", "file", "row")
    return rows.mapInArrow(Table({file.delivered.client: file.wanted for file in alike}).__call__, COLUMNS)


def _plain(field: StructField, kind: str | None) -> Column:
    """Return a column as the worker takes it: a number as it is, all else as the bytes of Spark's text of it."""
    if kind == NUMERIC and isinstance(field.dataType, NumericType):
        return named(field.name).cast("double")
    return named(field.name).cast("string").cast("binary")  # which the worker sees to be UTF-8, or not
