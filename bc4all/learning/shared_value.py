"""A value for tasks to read, as Spark's broadcasts are, whose size the driver's heap does not bound.

Spark turns a broadcast into blocks in the heap, all of them before the first can go to disk; a model of half the heap
would end the driver. Here it is several broadcasts, which a worker puts together once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pyspark import Broadcast
from pyspark.sql import SparkSession

from bc4all.learning.heap import heap_bytes
from bc4all.learning.pieces import read_pieces, write_pieces

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_SHARE = 16  # of the heap, that a piece may take
_MAX_PIECE_BYTES = 64 << 20


class Shared(Protocol[T_co]):
    """What tasks need of a SharedValue."""

    @property
    def value(self) -> T_co: ...

    def forget(self) -> None: ...


class _Assembly:
    """The value in a worker, once it is put together; Spark keeps it there as it keeps any broadcast's value."""

    def __init__(self, first: bytes) -> None:
        self._first: bytes | None = first

    def value(self, others: Sequence[Broadcast[bytes]]) -> Any:
        if self._first is not None:
            self._value = read_pieces(self._pieces(self._first, others))
            self._first = None
        return self._value

    def _pieces(self, first: bytes, others: Sequence[Broadcast[bytes]]) -> Iterator[bytes]:
        yield first
        for piece in others:
            yield piece.value
            if hasattr(piece, "_path"):  # it can be read again, and need not stay in memory beside the whole
                vars(piece).pop("_value", None)


class SharedValue(Generic[T]):
    """`value` in tasks, `destroy` on the driver, as a Broadcast has them."""

    def __init__(self, spark: SparkSession, value: T, stays: bool = False) -> None:
        """Share it; `stays`: the driver keeps it, too, instead of reading it again where it is asked there."""
        context, self._first, self._others = spark.sparkContext, [], []  # type: ignore[var-annotated]
        if stays:
            self._own = value

        def share(piece: bytes) -> None:
            if self._first:
                self._others.append(context.broadcast(piece))
            else:
                self._first.append(context.broadcast(_Assembly(piece)))

        try:
            write_pieces(value, min(_MAX_PIECE_BYTES, heap_bytes(spark) // _SHARE), share)
        except BaseException:
            self.destroy()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if name != "_own"}

    @property
    def value(self) -> T:
        """The value; put together the first time that a worker asks."""
        if "_own" in vars(self):
            return self._own
        value: T = self._first[0].value.value(self._others)
        return value

    def forget(self) -> None:
        """Let go of it in a worker, which may ask again; on the driver it stays."""
        if hasattr(self._first[0], "_path"):  # it can be read again
            vars(self._first[0]).pop("_value", None)

    def destroy(self) -> None:
        """Let go of it everywhere."""
        vars(self).pop("_own", None)
        for piece in [*self._first, *self._others]:
            piece.destroy()
