"""A client's products: which rows are sound, and which are refused, with the reason.

Every row of every file ends up either in `accepted` or in `refused`; what is sound is decided in `reading`, inside the
tasks. Nothing here writes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID, ROW
from bc4all.data.audit import id_sum
from bc4all.data.feed import read_rows
from bc4all.data.filesystem import Entry, FileSystem
from bc4all.data.partition import Footer, Heads, blaming_changes, check_unchanged, data_files, quoted, read_heads
from bc4all.errors import DataError
from bc4all.kinds import NUMERIC, Features
from bc4all.reading.rows import DOUBLED, Wanted

# As files lie in storage; about 20,000 products of five features in a .csv.gz.
_BYTES_A_TASK = 1 << 20
_SOUND = "fault IS NULL AND file_end IS NULL"


@dataclass(frozen=True)
class Products:
    """One client's partition, read once and kept until `release`.

    `accepted` has product_id string, category_id string (training only), the features (numeric ones as double, NaN
    where missing, others as string, null where missing) and `_row`; `refused` the same columns as text, the raw line if
    it would not split, the file, the reason (`_line`, `_file`, `_reason` where a feature has that name).
    """

    accepted: DataFrame
    accepted_rows: int
    accepted_ids: int  # their `id_sum`
    refusals: Mapping[str, int]  # reason -> rows
    empty_lines: int  # of commas alone, which are skipped
    checked: DataFrame
    wanted: Wanted
    folder: str
    source: Sequence[Entry]  # the files as they were listed before they were read

    @property
    def refused(self) -> DataFrame:
        """The refused rows."""
        return _refused(self.checked, self.wanted, self.source)

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
    return _read(spark, files, folder, Wanted(features, labelled=True))


def read_prediction(spark: SparkSession, files: FileSystem, folder: str, features: Features) -> Products:
    """Return the products in `folder`.

    Raises DataError where there is no partition, no row, a missing or doubled column, a file of another kind, or one
    of which not every record is found again in the rows.
    """
    return _read(spark, files, folder, Wanted(features, labelled=False))


class _End(NamedTuple):
    """What the row behind a file's last one says."""

    lines: int
    empty: int
    fault: str | None


_NOTHING = _End(0, 0, None)  # of a file without a byte, which Spark leaves out


class _Counts(NamedTuple):
    """How many rows there are by reason (None for sound ones), and their `id_sum`; by file, the lines they take."""

    rows: dict[str | None, tuple[int, int]]
    lines: dict[int, int]
    ends: dict[int, _End]


def _read(spark: SparkSession, files: FileSystem, folder: str, wanted: Wanted) -> Products:
    entries = data_files(files, folder)
    with blaming_changes(files, folder, entries):
        heads = read_heads(files, entries, wanted)
        rows, has_marks = read_rows(spark, files, heads, wanted)
        # A .csv.gz is one task, however large: a shuffle spreads its rows over the cluster.
        tasks = math.ceil(sum(entry.size for entry in heads) / _BYTES_A_TASK)
        checked = (rows.repartition(tasks, "row") if tasks > 1 else rows).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            checked = checked if has_marks else _marked(checked)
            counts = _counted(checked)
            _check_ends(folder, heads, counts)
            return _products(checked, counts, wanted, folder, entries)
        except BaseException:
            checked.unpersist()
            raise


def _products(checked: DataFrame, counts: _Counts, wanted: Wanted, folder: str, entries: Sequence[Entry]) -> Products:
    accepted_rows, accepted_ids = counts.rows.pop(None, (0, 0))
    return Products(
        accepted=_accepted(checked, wanted),
        accepted_rows=accepted_rows,
        accepted_ids=accepted_ids,
        refusals={str(reason): rows for reason, (rows, _) in sorted(counts.rows.items())},
        empty_lines=sum(end.empty for end in counts.ends.values()),
        checked=checked,
        wanted=wanted,
        folder=folder,
        source=entries,
    )


def _marked(rows: DataFrame) -> DataFrame:
    """Return the rows, kept, with those marked that have the id of a sound row before them.

    Rows that are refused anyway stay apart: a sound row is never the duplicate of one of them.
    """
    by_id = (
        rows.where(_SOUND)
        .groupBy(F.col(PRODUCT_ID).alias("id"))
        .agg(F.min("row").alias("first"), F.count("*").alias("times"))
    )
    doubled = by_id.where("times > 1").drop("times")
    if doubled.isEmpty():
        return rows
    joined = rows.join(doubled, F.expr(f"{_SOUND} AND {PRODUCT_ID} = id AND row > first"), "left")
    fault = F.when(F.col("first").isNotNull(), F.lit(DOUBLED)).otherwise(F.col("fault"))
    marked = joined.withColumn("fault", fault).drop("id", "first").persist(StorageLevel.MEMORY_AND_DISK)
    try:
        marked.count()
    except BaseException:
        marked.unpersist()
        raise
    rows.unpersist()
    return marked


def _counted(checked: DataFrame) -> _Counts:
    is_row = F.col("file_end").isNull()
    counted = checked.groupBy("file", "fault").agg(
        F.count_if(is_row).alias("rows"),
        id_sum(PRODUCT_ID, is_row).alias("ids"),
        F.sum("lines").alias("lines"),
        F.max("file_end").alias("file_end"),
    )
    counts = _Counts({}, {}, {})
    for row in counted.collect():
        counts.lines[row["file"]] = counts.lines.get(row["file"], 0) + row["lines"]
        if row["file_end"] is not None:
            counts.ends[row["file"]] = _End(*row["file_end"])
        if row["rows"]:
            rows, ids = counts.rows.get(row["fault"], (0, 0))
            counts.rows[row["fault"]] = rows + row["rows"], ids ^ row["ids"]
    return counts


def _check_ends(folder: str, heads: Heads, counts: _Counts) -> None:
    """Raise DataError by the first file that could not be read, or whose rows took another number of lines than it has.

    A CSV file's lines are counted apart from what reads its records, a parquet file's rows by its footer. Raises it,
    too, where there is no row at all.
    """
    remedy = "nothing was published: look there for a quote that is not closed, or deliver it as parquet"
    for number, (entry, head) in enumerate(heads.items()):
        expected = _End(head.rows, 0, None) if isinstance(head, Footer) else _NOTHING if not entry.size else None
        end = expected or counts.ends.get(number)
        if end is None:
            raise DataError(f"{entry.uri} was not read to its end", remedy=remedy)
        if end.fault is not None:
            raise DataError(end.fault)
        lost = end.lines - end.empty - counts.lines.get(number, 0)
        if lost > 0:
            raise DataError(f"{entry.uri}: {lost} of {end.lines} lines are in no row", remedy=remedy)
        if lost < 0:
            raise DataError(f"{entry.uri}: {-lost} lines too many are in its rows", remedy=remedy)
    if not counts.rows:
        raise DataError("there are no rows", folder, "deliver the client's products")


def _accepted(checked: DataFrame, wanted: Wanted) -> DataFrame:
    ids = [PRODUCT_ID, *([CATEGORY_ID] if wanted.labelled else [])]
    values = [f"{value} AS {quoted(name)}" for name, value in _values(wanted.features).items()]
    return checked.where(_SOUND).selectExpr(*ids, *values, f"row AS {ROW}")


def _refused(checked: DataFrame, wanted: Wanted, entries: Sequence[Entry]) -> DataFrame:
    values = {PRODUCT_ID: PRODUCT_ID, CATEGORY_ID: CATEGORY_ID, **_values(wanted.features)}
    for name, kind in wanted.features.items():
        if kind == NUMERIC:
            values[name] = f"nullif({values[name]}, double('NaN'))"
    texts = [
        f"coalesce(given[{place}], CAST({values[name]} AS STRING)) AS {quoted(name)}"
        for place, name in enumerate(wanted.names)
    ]
    file = F.array(*[F.lit(entry.uri) for entry in entries])[F.col("file")]
    about = {"line": F.col("line"), "file": file, "reason": F.col("fault")}
    # A feature may be called so, too: two columns of one name cannot be written.
    columns = [column.alias(f"_{name}" if name in wanted.features else name) for name, column in about.items()]
    return checked.where("fault IS NOT NULL").select(*map(F.expr, texts), *columns)


def _values(features: Features) -> dict[str, str]:
    """Return by feature, in their order, the expression of its values: its place among the numbers or the words."""
    numbers = [name for name, kind in features.items() if kind == NUMERIC]
    words = [name for name, kind in features.items() if kind != NUMERIC]
    places = {name: f"numbers[{place}]" for place, name in enumerate(numbers)}
    places |= {name: f"words[{place}]" for place, name in enumerate(words)}
    return {name: places[name] for name in features}
