"""A client's products: which rows are sound, and which are refused, with the reason.

Every row of every file ends up either in `accepted` or in `refused`. Ids and labels stay text; numbers are cast so that
a bad one is seen. Nothing here writes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, IntegralType, NumericType, StringType
from pyspark.storagelevel import StorageLevel

from bc4all.column_names import CATEGORY, FAULT, FILE, LINE, LINES, PRODUCT, REASON, ROW
from bc4all.column_names import TEXT as AS_TEXT
from bc4all.data.audit import id_sum
from bc4all.data.filesystem import Entry, FileSystem
from bc4all.data.partition import (
    Heads,
    blaming_changes,
    check_unchanged,
    data_files,
    has_break,
    named,
    read_heads,
    read_rows,
)
from bc4all.data.tally import check_lines, delivered_lines, file_name
from bc4all.errors import DataError
from bc4all.kinds import NUMERIC, TEXT, Features

_ID = "id"  # what a product's id and its category are, beside features of their kinds

# What float("…") takes, without Java's suffixes ("1.0d") and hexadecimal forms. "NaN" is a missing value.
_NUMBER = r"^\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[nN][aA][nN])\s*$"
_INFINITE = r"(?i)^\s*[+-]?inf(inity)?\s*$"
# scikit-learn's trees work in float32 and refuse what overflows it.
_LARGEST_FLOAT32 = 3.4028234663852886e38
_REPLACED = "\ufffd"  # what bytes that are no UTF-8 were read as
_CONTROL = r"[\x00-\x1f\x7f]"  # no part of a name: such as a NUL, or a line break that a stray quote let in
_TORN = "a quote that is not closed"  # of a record that is read anew, line by line
# As files lie in storage; about 20,000 products of five features in a .csv.gz.
_BYTES_A_TASK = 1 << 20


@dataclass(frozen=True)
class Products:
    """One client's partition, read once and kept until `release`.

    `accepted` has product_id string, category_id string (training only), the features (numeric ones as double, null or
    NaN where missing, others as string, null where missing) and `_row`; `refused` the same columns as text, the raw
    line if it would not split, the file, the reason.
    """

    accepted: DataFrame
    refused: DataFrame
    accepted_rows: int
    accepted_ids: int  # their `id_sum`
    refusals: Mapping[str, int]  # reason -> rows
    checked: DataFrame
    folder: str
    source: Sequence[Entry]  # the files as they were listed before they were read

    @property
    def refused_rows(self) -> int:
        """Rows that go to quarantine."""
        return sum(self.refusals.values())

    @property
    def rows(self) -> int:
        """All rows of the partition."""
        return self.accepted_rows + self.refused_rows

    def too_many_refused(self, max_quarantine: float) -> bool:
        """Return whether more than that share of the rows is refused, or all."""
        return self.refused_rows / self.rows > max_quarantine or not self.accepted_rows

    def check_unchanged(self, files: FileSystem) -> None:
        """Raise TransientFailure where the files are no longer those that were read."""
        check_unchanged(files, self.folder, self.source)

    def release(self) -> None:
        """Give the cached rows back."""
        self.checked.unpersist()


def read_training(spark: SparkSession, files: FileSystem, folder: str, features: Features) -> Products:
    """Return the products in `folder` with their categories. Raises DataError as `read_prediction` does."""
    return _read(spark, files, folder, {PRODUCT: _ID, CATEGORY: _ID, **features})


def read_prediction(spark: SparkSession, files: FileSystem, folder: str, features: Features) -> Products:
    """Return the products in `folder`.

    Raises DataError where there is no partition, no row, a missing or doubled column, a file of another kind, or one
    of which not every record is found again in the rows.
    """
    return _read(spark, files, folder, {PRODUCT: _ID, **features})


def _read(spark: SparkSession, files: FileSystem, folder: str, kinds: Mapping[str, str]) -> Products:
    names, entries = list(kinds), data_files(files, folder)
    with blaming_changes(files, folder, entries):
        heads = read_heads(files, entries, names)
        delivered = delivered_lines(spark, heads)
        checked, counts = _checked(spark, folder, heads, kinds)
        # A quote that is torn may have swallowed other rows; where lines end in different ways, their count tells.
        if _TORN in counts.rows or counts.lines != delivered:
            checked.unpersist()
            checked, counts = _checked(spark, folder, heads, kinds, by_line=True)
        try:
            check_lines(folder, delivered, counts.lines)
        except DataError:
            checked.unpersist()
            raise
    if not counts.rows:
        checked.unpersist()
        raise _no_rows(folder)
    refused = checked.where(F.col(REASON).isNotNull()).select(
        *[F.coalesce(F.col(AS_TEXT)[name], named(name).cast("string")).alias(name) for name in names],
        F.col(AS_TEXT)[LINE].alias("line"),
        F.col(FILE).alias("file"),
        F.col(REASON).alias("reason"),
    )
    accepted = checked.where(F.col(REASON).isNull()).select(*[named(name) for name in names], ROW)
    accepted_rows, accepted_ids = counts.rows.pop(None, (0, 0))
    refusals = {str(reason): rows for reason, (rows, _) in sorted(counts.rows.items())}
    return Products(accepted, refused, accepted_rows, accepted_ids, refusals, checked, folder, entries)


class _Counts(NamedTuple):
    """How many rows there are by reason (None for sound ones), and their `id_sum`; how many lines they took by file."""

    rows: dict[str | None, tuple[int, int]]
    lines: dict[str, int]


def _checked(
    spark: SparkSession, folder: str, heads: Heads, kinds: Mapping[str, str], by_line: bool = False
) -> tuple[DataFrame, _Counts]:
    """Return every row with `_reason` (null where it is sound), kept; and their counts."""
    texts = [name for name, kind in kinds.items() if kind == TEXT]
    parts = [_judge(rows, kinds, folder) for rows in read_rows(spark, heads, list(kinds), texts, by_line)]
    if not parts:
        raise _no_rows(folder)
    # A .csv.gz is one task, however large: the shuffle that finds duplicates spreads its rows over the cluster.
    tasks = math.ceil(sum(entry.size for entry in heads) / _BYTES_A_TASK)
    judged = reduce(DataFrame.unionByName, parts).withColumn(ROW, F.monotonically_increasing_id())
    judged = judged.repartition(tasks, PRODUCT)
    # Rows that are refused anyway stay apart: a sound row is never the duplicate of one of them.
    same_id = Window.partitionBy(PRODUCT, FAULT).orderBy(ROW)
    doubled = F.col(FAULT).isNull() & (F.row_number().over(same_id) > 1)
    reason = F.when(doubled, F.lit("duplicate product_id")).otherwise(F.col(FAULT))
    checked = judged.withColumn(REASON, reason).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        return checked, _counted(checked, heads)
    except (Py4JError, PySparkException):
        checked.unpersist()
        raise


def _counted(checked: DataFrame, heads: Heads) -> _Counts:
    counted = checked.groupBy(REASON, FILE).agg(
        F.count("*").alias("rows"), id_sum(PRODUCT).alias("ids"), F.sum(LINES).alias("lines")
    )
    counts = _Counts({}, dict.fromkeys((entry.name for entry in heads), 0))
    for row in counted.collect():
        rows, ids = counts.rows.get(row[REASON], (0, 0))
        counts.rows[row[REASON]] = rows + row["rows"], ids ^ row["ids"]
        counts.lines[file_name(row[FILE])] += row["lines"]
    return counts


def _no_rows(folder: str) -> DataError:
    return DataError("there are no rows", folder, "deliver the client's products")


def _judge(rows: DataFrame, kinds: Mapping[str, str], folder: str) -> DataFrame:
    """Return the rows with typed values, `_fault` (null where sound) and, for the others, their values as text."""
    values, faults = [], []
    for name, kind in kinds.items():
        value, fault = _JUDGES.get(kind, _words)(name, rows.schema[name].dataType, folder)
        values.append(value.alias(name))
        faults.append(fault)
    line, names = F.col(LINE), list(kinds)
    on_one_line = [name for name, kind in kinds.items() if kind != TEXT]
    torn = reduce(Column.__or__, [has_break(named(name).cast("string")) for name in on_one_line], has_break(line))
    fault = (
        F.when(torn, F.lit(_TORN))
        .when(line.isNotNull(), F.lit("malformed CSV line"))
        .otherwise(F.concat_ws("; ", *faults))
    )
    text = F.struct(*[named(name).cast("string").alias(name) for name in names], line)
    return rows.select(
        *values,
        F.when(fault != "", fault).alias(FAULT),
        F.when(fault != "", text).alias(AS_TEXT),
        F.col(FILE),
        F.col(LINES),
    )


def _identifier(name: str, kind: DataType, folder: str) -> tuple[Column, Column]:
    """Return a product id or a category: its text, and what is wrong with it."""
    if not isinstance(kind, StringType | IntegralType):
        raise DataError(f"column {name} is {kind.simpleString()}", folder, "deliver it as text")
    value = named(name).cast("string")
    fault = (
        F.when(value.isNull() | (F.trim(value) == ""), F.lit(f"no {name}"))
        .when(value.contains(_REPLACED), F.lit(f"{name} is not UTF-8"))
        .when(value.rlike(_CONTROL), F.lit(f"{name} holds a control character"))
    )
    return value, fault


def _number(name: str, kind: DataType, folder: str) -> tuple[Column, Column]:
    """Return a numeric feature as double, null where missing, and what is wrong with it."""
    column = named(name)
    if isinstance(kind, NumericType):
        value, no_number, infinite = column.cast("double"), F.lit(False), F.lit(False)
    elif isinstance(kind, StringType):
        given = F.trim(column) != ""
        infinite = given & column.rlike(_INFINITE)
        no_number = given & ~column.rlike(_NUMBER) & ~infinite
        value = F.when(given & ~no_number & ~infinite, F.trim(column).try_cast("double"))
    else:
        raise DataError(f"column {name} is {kind.simpleString()}", folder, "deliver it as a number")
    out_of_range = ~F.isnan(value) & (F.abs(value) > _LARGEST_FLOAT32)
    fault = F.when(no_number, F.lit(f"{name} is no number")).when(infinite | out_of_range, F.lit(f"{name} is infinite"))
    return value, fault


def _words(name: str, kind: DataType, folder: str) -> tuple[Column, Column]:
    """Return a text or category feature: whatever it says is taken.

    Nothing is wrong with a text that is missing or odd.
    """
    if not isinstance(kind, StringType | NumericType | BooleanType):
        raise DataError(f"column {name} is {kind.simpleString()}", folder, "deliver it as text")
    return named(name).cast("string"), F.lit(None).cast("string")


_JUDGES = {_ID: _identifier, NUMERIC: _number}
