"""Many clients' products, read in the same Spark jobs: each one's own, or the failure that takes it out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from py4j.protocol import Py4JError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from bc4all.data.entry import Entry
from bc4all.data.failures import as_failure, unread_file
from bc4all.data.feed import COLUMNS, Delivery, read_packs
from bc4all.data.filesystem import FileSystem
from bc4all.data.partition import blaming_changes, check_unchanged, data_files, read_heads
from bc4all.data.products import KeptPacks, Products
from bc4all.data.tally import Counts, check_ends, count_packs
from bc4all.errors import Failure
from bc4all.kinds import Features
from bc4all.reading.doubles import DOUBLED_ROWS, MAX_SEEN, SHARED, RefuseDoubled, ShareKeys, find_doubled
from bc4all.reading.rows import Wanted

_BYTES_A_TASK = 8 << 20  # as files lie in storage; of a .csv.gz, about 120,000 products of five features
_MAX_READ_AGAIN = 3
_KEYS_A_TASK = 1_000_000  # that are compared in one: 24 MB, and 80 MB more to sort them


@dataclass(frozen=True)
class Asked:
    """What to read of a client: the folder of its partition, and the columns of its rows."""

    folder: str
    wanted: Wanted


@dataclass(frozen=True)
class _Listed:
    """A client's partition as it was found."""

    folder: str
    entries: Sequence[Entry]
    delivery: Delivery


@dataclass(frozen=True)
class WaveProducts:
    """Clients that were read at once, by their numbers: what each has, or why it has nothing; kept until `release`."""

    found: Mapping[int, Products | Failure]
    kept: KeptPacks | None  # None where nothing could be read

    def release(self) -> None:
        """Give the kept packs back."""
        if self.kept:
            self.kept.release()


def read_training(spark: SparkSession, files: FileSystem, folder: str, features: Features) -> Products:
    """Return the products in `folder` with their categories. Raises DataError as `read_prediction` does."""
    return _read_alone(spark, files, Asked(folder, Wanted(features, labelled=True)))


def read_prediction(
    spark: SparkSession,
    files: FileSystem,
    folder: str,
    features: Features,
    count: Callable[[pd.DataFrame], Iterable[tuple[str, str, bool, int]]] | None = None,
) -> Products:
    """Return the products in `folder`, with what `count` gives of them as their `bins`.

    Raises DataError where there is no partition, no row, a missing or doubled column, a file of another kind, or one
    whose rows do not add up to its lines.
    """
    return _read_alone(spark, files, Asked(folder, Wanted(features, labelled=False, count=count)))


def _read_alone(spark: SparkSession, files: FileSystem, asked: Asked) -> Products:
    (found,) = read_wave(spark, files, {0: asked}).found.values()
    if isinstance(found, Failure):
        raise found
    return found


def read_wave(
    spark: SparkSession, files: FileSystem, asked: Mapping[int, Asked], tries: int = _MAX_READ_AGAIN
) -> WaveProducts:
    """Return what clients, by any number, have delivered. What is wrong with one's files is that one's failure.

    Where they fail the job that reads all, the others are read again, `tries` times at most: a storage that is away
    fails with each. Raises what a Spark job raises.
    """
    found: dict[int, Products | Failure] = {}
    listed: dict[int, _Listed] = {}
    for number, its in asked.items():
        try:
            listed[number] = _list(files, number, its)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            found[number] = as_failure(error)
    if not listed:
        return WaveProducts(found, None)
    try:
        kept, counts = _read(spark, files, [one.delivery for one in listed.values()])
    except (Failure, Py4JError, PySparkException) as error:
        blamed = _blamed(files, listed, error)
        if not blamed or not tries:
            raise
        rest = {number: asked[number] for number in listed if number not in blamed}
        read = read_wave(spark, files, rest, tries - 1) if rest else WaveProducts({}, None)
        return WaveProducts({**found, **blamed, **read.found}, read.kept)
    for number, one in listed.items():
        found[number] = _checked(files, one, kept, counts.get(number) or Counts.nothing())
    if not any(isinstance(one, Products) for one in found.values()):
        kept.release()
        return WaveProducts(found, None)
    return WaveProducts(found, kept)


def _blamed(files: FileSystem, listed: Mapping[int, _Listed], error: Exception) -> dict[int, Failure]:
    """Return the clients whose files explain why a job failed that read all: they changed, or one cannot be read."""
    unread, found = unread_file(error), {}
    for number, one in listed.items():
        try:
            check_unchanged(files, one.folder, one.entries)
            if unread is not None and unread.startswith(f"{one.folder}/"):
                raise as_failure(error)
        except Failure as failure:
            found[number] = failure
    return found


def _list(files: FileSystem, number: int, asked: Asked) -> _Listed:
    entries = data_files(files, asked.folder)
    with blaming_changes(files, asked.folder, entries):
        delivery = Delivery(number, read_heads(files, entries, asked.wanted), asked.wanted)
    return _Listed(asked.folder, entries, delivery)


def _read(
    spark: SparkSession, files: FileSystem, deliveries: Sequence[Delivery]
) -> tuple[KeptPacks, Mapping[int, Counts]]:
    """Return the packs of all deliveries, kept, with later rows of equal ids refused; and what they say of each."""
    packs, marked = read_packs(spark, files, deliveries)
    kept = KeptPacks(_spread(packs, deliveries).persist(StorageLevel.MEMORY_AND_DISK))
    try:
        counts = count_packs(kept.packs)
        unmarked = [
            delivery.client
            for delivery in deliveries
            if delivery.client in counts
            and (delivery.client not in marked or counts[delivery.client].accepted[0] >= MAX_SEEN)
        ]
        if unmarked:
            wanted = {delivery.client: delivery.wanted for delivery in deliveries}
            return _marked(spark, kept, counts, {client: wanted[client] for client in unmarked})
    except BaseException:
        kept.release()
        raise
    return kept, counts


def _spread(packs: DataFrame, deliveries: Sequence[Delivery]) -> DataFrame:
    """Return the packs in as many tasks as they are worth: a .csv.gz is one task, however large."""
    tasks = math.ceil(sum(delivery.bytes for delivery in deliveries) / _BYTES_A_TASK)
    if len(deliveries) == 1:
        return packs.repartition(tasks, "first") if tasks > 1 else packs
    if max(entry.size for delivery in deliveries for entry in delivery.heads) <= _BYTES_A_TASK:
        return packs  # Spark gives out small files evenly
    return packs.repartition(tasks, "client", "first").sortWithinPartitions("client")


def _marked(
    spark: SparkSession, kept: KeptPacks, counts: Mapping[int, Counts], wanted: Mapping[int, Wanted]
) -> tuple[KeptPacks, Mapping[int, Counts]]:
    """Return the packs with those rows refused that have the id of a sound row before them; and the counts.

    Of the clients of `wanted`. Rows that are refused anyway stay apart: a sound row is never the duplicate of one.
    """
    keys = kept.packs.where("keys IS NOT NULL").where(kept.packs["client"].isin(list(wanted)))
    doubled = _doubled_rows(keys.select("client", "keys"), sum(counts[client].accepted[0] for client in wanted))
    if not doubled:
        return kept, counts
    shared = spark.sparkContext.broadcast(doubled)
    refuse = RefuseDoubled({client: wanted[client] for client in doubled}, shared)
    marked = KeptPacks(kept.packs.mapInArrow(refuse.__call__, COLUMNS).persist(StorageLevel.MEMORY_AND_DISK), shared)
    try:
        counts = count_packs(marked.packs)
    except BaseException:
        marked.release()
        raise
    kept.release()
    return marked, counts


def _doubled_rows(keys: DataFrame, count: int) -> dict[int, np.ndarray]:
    """Return the numbers of the rows that come later than one of the same id, sorted, by client: of `count` keys."""
    tasks = math.ceil(count / _KEYS_A_TASK)
    if tasks > 1:
        shared = keys.mapInArrow(ShareKeys(tasks).__call__, from_arrow_schema(SHARED))
        keys = shared.repartitionById(tasks, "bucket").select("client", "keys")
    else:
        keys = keys.coalesce(1)
    found = keys.mapInArrow(find_doubled, from_arrow_schema(DOUBLED_ROWS)).toArrow()
    clients, rows = found["client"].to_numpy(), found["row"].to_numpy()
    return {int(client): np.sort(rows[clients == client]) for client in np.unique(clients)}


def _checked(files: FileSystem, listed: _Listed, kept: KeptPacks, counts: Counts) -> Products | Failure:
    try:
        with blaming_changes(files, listed.folder, listed.entries):
            check_ends(listed.folder, listed.delivery.heads, counts)
    except Failure as failure:
        return failure
    accepted_rows, accepted_ids = counts.accepted
    return Products(
        number=listed.delivery.client,
        kept=kept,
        accepted_rows=accepted_rows,
        accepted_ids=accepted_ids,
        refusals={reason: rows for reason, (rows, _) in sorted(counts.refused.items())},
        empty_lines=sum(end.empty for end in counts.ends.values()),
        bins=counts.bins,
        wanted=listed.delivery.wanted,
        folder=listed.folder,
        source=listed.entries,
    )
