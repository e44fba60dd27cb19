"""A client's products: which rows are sound, and which are refused, with the reason.

Every row of every file ends up either among the accepted ones or the refused; what is sound is decided in `reading`,
inside the tasks. Nothing here writes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from bc4all.data.feed import COLUMNS, read_packs
from bc4all.data.filesystem import Entry, FileSystem
from bc4all.data.partition import Footer, Heads, blaming_changes, check_unchanged, data_files, read_heads
from bc4all.errors import DataError
from bc4all.kinds import Features
from bc4all.reading.doubles import DOUBLED_ROWS, MAX_SEEN, SHARED, RefuseDoubled, ShareKeys, find_doubled
from bc4all.reading.facts import BIN, END, KEYS, ROWS
from bc4all.reading.refusals import Refusals
from bc4all.reading.rows import Wanted

_BYTES_A_TASK = 8 << 20  # as files lie in storage; of a .csv.gz, about 120,000 products of five features
_KEYS_A_TASK = 1_000_000  # that are compared in one: 24 MB, and 80 MB more to sort them


@dataclass(frozen=True)
class _Kept:
    """Packs that Spark keeps, and the rows that were refused last: an executor's are made again when it is lost."""

    packs: DataFrame
    doubled: Broadcast[np.ndarray] | None = None

    def release(self) -> None:
        self.packs.unpersist()
        if self.doubled:
            self.doubled.destroy()


@dataclass(frozen=True)
class Products:
    """One client's partition, read once and kept until `release`, as packs by `reading.packs.PACKS`.

    A task takes sound rows out of a pack by `reading.packs.value_frame`.
    """

    kept: _Kept
    accepted_rows: int
    accepted_ids: int  # their `id_sum`
    refusals: Mapping[str, int]  # reason -> rows
    empty_lines: int  # of commas alone, which are skipped
    bins: Sequence[tuple[str, str, bool, int]]  # what `Wanted.count` has counted of accepted rows
    wanted: Wanted
    folder: str
    source: Sequence[Entry]  # the files as they were listed before they were read

    @property
    def accepted(self) -> DataFrame:
        """The packs that have sound rows: `rows binary`."""
        return _packs_where(self.kept.packs, "IS NULL")

    @property
    def refused(self) -> DataFrame:
        """The refused rows, as text: the wanted columns, the raw line if it would not split, the file, the reason.

        These three are called `_line`, `_file`, `_reason` where a feature has that name.
        """
        refusals = Refusals(self.wanted, [entry.uri for entry in self.source])
        schema = from_arrow_schema(refusals.schema)
        return _packs_where(self.kept.packs, "IS NOT NULL").mapInArrow(refusals.__call__, schema)

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
        """Give the kept packs back."""
        self.kept.release()


def read_training(spark: SparkSession, files: FileSystem, folder: str, features: Features) -> Products:
    """Return the products in `folder` with their categories. Raises DataError as `read_prediction` does."""
    return _read(spark, files, folder, Wanted(features, labelled=True))


def read_prediction(
    spark: SparkSession,
    files: FileSystem,
    folder: str,
    features: Features,
    count: Callable[[pd.DataFrame], Iterable[tuple[str, str, bool, int]]] | None = None,
) -> Products:
    """Return the products in `folder`, with what `count` gives of them as their `bins`.

    Raises DataError where there is no partition, no row, a missing or doubled column, a file of another kind, or one
    of which not every record is found again in the rows.
    """
    return _read(spark, files, folder, Wanted(features, labelled=False, count=count))


class _End(NamedTuple):
    """What the row behind a file's last one says."""

    lines: int
    empty: int
    fault: str | None


_NOTHING = _End(0, 0, None)  # of a file without a byte, which Spark leaves out


class _Counts(NamedTuple):
    """What the packs say of all rows: those of each reason (None for sound ones) and their `id_sum`; by file, the lines
    that they take and how it ends; what else was counted.
    """

    rows: dict[str | None, tuple[int, int]]
    lines: dict[int, int]
    ends: dict[int, _End]
    bins: list[tuple[str, str, bool, int]]


def _read(spark: SparkSession, files: FileSystem, folder: str, wanted: Wanted) -> Products:
    entries = data_files(files, folder)
    with blaming_changes(files, folder, entries):
        heads = read_heads(files, entries, wanted)
        packs, has_marks = read_packs(spark, files, heads, wanted)
        tasks = math.ceil(sum(entry.size for entry in heads) / _BYTES_A_TASK)
        if tasks > 1:  # a .csv.gz is one task, however large: a shuffle of packs spreads its rows over the cluster
            packs = packs.repartition(tasks, "first")
        kept = _Kept(packs.persist(StorageLevel.MEMORY_AND_DISK))
        try:
            counts = _counted(kept.packs)
            if not has_marks or counts.rows.get(None, (0, 0))[0] >= MAX_SEEN:
                kept, counts = _marked(spark, kept, counts, wanted)
            _check_ends(folder, heads, counts)
            return _products(kept, counts, wanted, folder, entries)
        except BaseException:
            kept.release()
            raise


def _products(kept: _Kept, counts: _Counts, wanted: Wanted, folder: str, entries: Sequence[Entry]) -> Products:
    accepted_rows, accepted_ids = counts.rows.pop(None, (0, 0))
    return Products(
        kept=kept,
        accepted_rows=accepted_rows,
        accepted_ids=accepted_ids,
        refusals={str(reason): rows for reason, (rows, _) in sorted(counts.rows.items())},
        empty_lines=sum(end.empty for end in counts.ends.values()),
        bins=counts.bins,
        wanted=wanted,
        folder=folder,
        source=entries,
    )


def _packs_where(packs: DataFrame, condition: str) -> DataFrame:
    return packs.where(f"exists(facts, fact -> fact.kind = '{ROWS}' AND fact.name {condition})").select("rows")


def _marked(spark: SparkSession, kept: _Kept, counts: _Counts, wanted: Wanted) -> tuple[_Kept, _Counts]:
    """Return the packs with those rows refused that have the id of a sound row before them; and the counts.

    Rows that are refused anyway stay apart: a sound row is never the duplicate of one of them.
    """
    doubled = _doubled_rows(kept.packs.where("keys IS NOT NULL").select("keys"), counts.rows.get(None, (0, 0))[0])
    if not len(doubled):
        return kept, counts
    shared = spark.sparkContext.broadcast(doubled)
    packs = kept.packs.mapInArrow(RefuseDoubled(wanted, shared).__call__, COLUMNS)
    marked = _Kept(packs.persist(StorageLevel.MEMORY_AND_DISK), shared)
    try:
        counts = _counted(marked.packs)
    except BaseException:
        marked.release()
        raise
    kept.release()
    return marked, counts


def _doubled_rows(keys: DataFrame, count: int) -> np.ndarray:
    """Return the numbers of the rows that come later than one of the same id, sorted: of packs with so many `keys`."""
    tasks = math.ceil(count / _KEYS_A_TASK)
    if tasks > 1:
        shared = keys.mapInArrow(ShareKeys(tasks).__call__, from_arrow_schema(SHARED))
        keys = shared.repartitionById(tasks, "bucket").select("keys")
    else:
        keys = keys.coalesce(1)
    found = keys.mapInArrow(find_doubled, from_arrow_schema(DOUBLED_ROWS))
    return np.sort(found.toArrow()["row"].to_numpy())


def _counted(packs: DataFrame) -> _Counts:
    """Return what the packs say of themselves, which are there, and kept, when this is known."""
    found = packs.selectExpr("inline(facts)").groupBy(*KEYS)
    sums = F.sum("count").alias("count"), F.sum("lines").alias("lines"), F.bit_xor("ids").alias("ids")
    counts = _Counts({}, {}, {}, [])
    for kind, file, name, bin_, is_new, count, lines, ids in found.agg(*sums).collect():
        if kind == END:
            counts.ends[file] = _End(lines, count, name)
        elif kind == BIN:
            counts.bins.append((name, bin_, is_new, count))
        else:
            counts.lines[file] = counts.lines.get(file, 0) + lines
            rows, sum_of_ids = counts.rows.get(name, (0, 0))
            counts.rows[name] = rows + count, sum_of_ids ^ ids
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
