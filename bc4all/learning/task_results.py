"""What tasks answer -> the driver, of any size, with no more than a share of the driver's heap in Java at a time.

A plain `collect()` holds every answer in Java whole, several times over: from a fifth of the heap on, Spark's thread
for results dies of OutOfMemoryError, and `collect()` waits for ever.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark import RDD, AccumulatorParam, StorageLevel
from pyspark.sql import SparkSession

from bc4all.errors import TransientFailure
from bc4all.learning.heap import heap_bytes
from bc4all.learning.pieces import read_pieces, write_pieces

# Of the heap: what all answers that need no further job may take, and what a round of pieces may. Java holds each
# about five times (measured: of 1 GB, 160 MB came back and 200 MB did not), and several clients may be fitted at once.
_AT_ONCE, _ROUND = 64, 32
_MAX_PIECE_BYTES = 16 << 20
_MAX_SMALL_BYTES = 4 << 20
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


def collect(spark: SparkSession, items: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    """Do `work` on each item, a Spark task each, and return the answers in the items' order.

    Raises TransientFailure where an answer is not what its task sent: its executor was lost, and the answer that was
    computed again is another.
    """
    if not items:
        return []
    context, heap = spark.sparkContext, heap_bytes(spark)
    small = min(_MAX_SMALL_BYTES, heap // _AT_ONCE // len(items))
    size = min(_MAX_PIECE_BYTES, heap // _AT_ONCE)
    receipts = context.accumulator([], _Receipts())

    def answer(number: int, own: Iterable[Any]) -> Iterator[bytes]:
        pieces: list[bytes] = []
        (item,) = own
        length, sha256 = write_pieces(work(item), size, pieces.append)
        content = b"".join(pieces) if length <= small else None
        receipts.add([_Receipt(number, length, sha256, len(pieces), content)])
        if content is None:
            yield from _emptied(pieces)

    kept = context.parallelize(items, len(items)).mapPartitionsWithIndex(answer).persist(StorageLevel.DISK_ONLY)
    try:
        kept._jrdd.count()  # RDD.count would start a second Python worker a task
        found = {receipt.item: receipt for receipt in receipts.value}  # of a task that ran twice, what is told last
        receipts.value = []  # Spark never forgets an accumulator
        large = {number: one for number, one in found.items() if one.content is None}
        contents = _fetch(spark, kept, large, max(1, heap // _ROUND // size)) if large else {}
        return [_opened(found[number], contents.pop(number, None)) for number in range(len(items))]
    finally:
        kept.unpersist()


def _fetch(
    spark: SparkSession, kept: "RDD[bytes]", large: dict[int, _Receipt], pieces_a_round: int
) -> dict[int, list[bytes]]:
    """Bring the pieces of large answers to the driver, a round of Spark tasks after the other."""
    firsts, total = {}, 0
    for number, receipt in large.items():
        firsts[number] = total
        total += receipt.pieces

    def numbered(number: int, pieces: Iterable[bytes]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        for place, piece in enumerate(pieces):
            yield firsts[number] + place, (number, piece)

    # A shuffle gives each piece a partition of its own: a round reads from disk what it brings, and nothing else.
    apart = kept.mapPartitionsWithIndex(numbered).partitionBy(total, int)
    contents: dict[int, list[bytes]] = {number: [] for number in large}
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
