"""What tasks answer -> the driver, of any size, with no more than a share of the driver's heap in Java at a time.

A plain `collect()` holds every answer in Java whole, several times over: from a fifth of the heap on, Spark's thread
for results dies of OutOfMemoryError, and `collect()` waits for ever.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyspark import RDD, AccumulatorParam, StorageLevel
from pyspark.core.rdd import _load_from_socket  # type: ignore[attr-defined]
from pyspark.sql import SparkSession

from bc4all.errors import TransientFailure
from bc4all.learning.heap import heap_bytes
from bc4all.learning.pieces import read_pieces, write_pieces
from bc4all.packing import packed

# Of the heap: what all answers that need no further job may take, and what a round of pieces may. Java holds each
# about five times (measured: of 1 GB, 160 MB came back and 200 MB did not), and several clients may be fitted at once.
_AT_ONCE, _ROUND = 64, 32
_MAX_PIECE_BYTES = 16 << 20
_MAX_SMALL_BYTES = 4 << 20
Fetched: TypeAlias = dict[int, list[bytes]]  # answers that were brought to the driver, as pieces
Kept: TypeAlias = "RDD[tuple[int, bytes]]"  # the pieces of answers, each with its answer's number
# Rounds of several clients at once would each take their share of the same heap.
_ROUND_LOCK = threading.Lock()


@dataclass(frozen=True)
class _Receipt:
    """What the first job tells of an item's answer; `content` is the answer itself where that is small."""

    item: int
    length: int  # bytes
    sha256: bytes
    pieces: int
    content: bytes | None


class _Receipts(AccumulatorParam[list[_Receipt]]):
    """Receipts that travel beside the answers, which stay where they are."""

    def zero(self, value: list[_Receipt]) -> list[_Receipt]:
        return []

    def addInPlace(self, value1: list[_Receipt], value2: list[_Receipt]) -> list[_Receipt]:  # noqa: N802 - Spark's name
        value1 += value2
        return value1


class Answers:
    """What tasks answer, kept where they ran, on disk, until it is taken: one for each of `parts`' partitions."""

    def __init__(
        self, spark: SparkSession, parts: "RDD[Any]", count: int, work: Callable[[int, Iterable[Any]], Any]
    ) -> None:
        """Do `work` on each partition's number and content; return when all is done."""
        self._spark, self._heap = spark, heap_bytes(spark)
        small = min(_MAX_SMALL_BYTES, self._heap // _AT_ONCE // max(1, count))
        size = min(_MAX_PIECE_BYTES, self._heap // _AT_ONCE)
        receipts = spark.sparkContext.accumulator([], _Receipts())

        def answer(number: int, own: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
            pieces: list[bytes] = []
            length, sha256 = write_pieces(work(number, own), size, pieces.append)
            content = b"".join(pieces) if length <= small else None
            receipts.add([_Receipt(number, length, sha256, len(pieces), content)])
            if content is None:
                yield from ((number, piece) for piece in _emptied(pieces))

        self._kept = parts.mapPartitionsWithIndex(answer).persist(StorageLevel.DISK_ONLY)
        try:
            self._kept._jrdd.count()  # RDD.count would start a second Python worker a task
        except BaseException:
            self.release()
            raise
        # Of a task that ran twice, its last receipt.
        self._receipts = {receipt.item: receipt for receipt in receipts.value}
        receipts.value = []  # Spark never forgets an accumulator

    def batches(self, numbers: Sequence[int], most_bytes: int, most: int) -> Iterator[list[int]]:
        """Return numbers of answers in batches that take so many bytes, or are one."""
        return packed(numbers, lambda number: self._receipts[number].length, most_bytes, most)

    def fetch(self, numbers: Iterable[int]) -> Fetched:
        """Bring some answers to the driver, for `opened`; those that came with their receipts are here."""
        large = {number: self._receipts[number] for number in numbers if self._receipts[number].content is None}
        return _fetch(self._spark, self._kept, large, self._heap // _ROUND) if large else {}

    def opened(self, number: int, fetched: Fetched) -> Any:
        """Return one of the answers that were fetched, where it is no more then.

        Raises TransientFailure where it is not what its task sent: its executor was lost, and the answer that was
        computed again is another.
        """
        return _opened(self._receipts[number], fetched.pop(number, None))

    def release(self) -> None:
        """Let go of them."""
        self._kept.unpersist()


def collect(spark: SparkSession, items: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    """Do `work` on each item, a Spark task each, and return the answers in the items' order.

    Raises TransientFailure as `Answers.opened` does.
    """
    if not items:
        return []
    parts = spark.sparkContext.parallelize(items, len(items))
    answers = Answers(spark, parts, len(items), lambda _, own: work(*own))
    try:
        fetched = answers.fetch(range(len(items)))
        return [answers.opened(number, fetched) for number in range(len(items))]
    finally:
        answers.release()


def _fetch(spark: SparkSession, kept: Kept, large: dict[int, _Receipt], round_bytes: int) -> Fetched:
    """Bring the pieces of large answers to the driver: whole ones, as many as a round may take, or one by pieces."""
    contents: Fetched = {}
    waiting = dict(large)
    while waiting:
        batch, room = [], round_bytes
        for number, receipt in waiting.items():
            if receipt.length <= room:
                batch.append(number)
                room -= receipt.length
        if batch:
            contents |= _whole(spark, kept, {number: large[number] for number in batch})
        else:  # each is too large for one round
            batch = list(waiting)
            contents |= _by_pieces(spark, kept, waiting, round_bytes)
        for number in batch:
            del waiting[number]
    return contents


def _whole(spark: SparkSession, kept: Kept, batch: Mapping[int, _Receipt]) -> Fetched:
    """Bring whole answers, one behind the other, by Java alone: RDD.runJob would send each through a Python worker."""
    context: Any = spark.sparkContext
    with _ROUND_LOCK:
        served = context._jvm.PythonRDD.runJob(context._jsc.sc(), kept._jrdd, list(batch))
        with _load_from_socket(served, kept._jrdd_deserializer) as pieces:
            contents: Fetched = {number: [] for number in batch}
            for number, piece in pieces:  # perhaps not as many as its receipt says: it may have been computed again
                contents[number].append(piece)
            return contents


def _by_pieces(spark: SparkSession, kept: Kept, large: dict[int, _Receipt], round_bytes: int) -> Fetched:
    """Bring large answers a round of pieces after the other."""
    firsts, total = {}, 0
    for number, receipt in large.items():
        firsts[number] = total
        total += receipt.pieces

    def numbered(number: int, pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        if number in firsts:
            for place, piece in enumerate(pieces):
                yield firsts[number] + place, piece

    # A shuffle gives each piece a partition of its own: a round reads from disk what it brings, and nothing else.
    apart = kept.mapPartitionsWithIndex(numbered).partitionBy(total, int)
    contents: Fetched = {number: [] for number in large}
    pieces_a_round = max(1, round_bytes // min(_MAX_PIECE_BYTES, heap_bytes(spark) // _AT_ONCE))
    try:
        for start in range(0, total, pieces_a_round):
            places = range(start, min(start + pieces_a_round, total))
            with _ROUND_LOCK:
                pairs = spark.sparkContext.runJob(apart, iter, places)
            for _, (number, piece) in pairs:
                contents[number].append(piece)
    finally:
        apart._jrdd.rdd().cleanShuffleDependencies(False)  # Java would keep its files until it collects garbage
    return contents


def _opened(receipt: _Receipt, pieces: list[bytes] | None) -> Any:
    """Return the answer of a receipt. Raises TransientFailure where its pieces are not those of the receipt."""
    if receipt.content is not None:
        return read_pieces([receipt.content])
    content, pieces = hashlib.sha256(), pieces or []
    for piece in pieces:
        content.update(piece)
    if content.digest() != receipt.sha256:
        told = f"a result of {receipt.length >> 20} MiB came back otherwise than its task had sent it"
        raise TransientFailure(told, remedy="an executor was lost; run it again, or set a `random_state`")
    return read_pieces(_emptied(pieces))


def _emptied(pieces: list[bytes]) -> Iterator[bytes]:
    """Pieces in their order, each gone from the list when it is given: they may be half of the driver's memory."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()
