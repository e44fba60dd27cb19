"""Tells the driver how far Spark's tasks are: which have ended, and what share of those that run is done.

Which have ended comes with Spark's own results, by an accumulator; but that of a running task reaches the driver at its
end alone. So a task sends what share is done by datagrams, which cannot make it wait, nor fail: where a network lets
none through, pieces are counted all the same. One without the key, which goes with the task, is passed over.
"""

import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Any, TypeAlias

from pyspark import Accumulator, AccumulatorParam
from pyspark.sql import SparkSession

from bc4all.learning.progress import Progress
from bc4all.model.progress import listening

_MESSAGE = struct.Struct("!16sId")  # the key, the piece's number, the share of it that is done
_REPORT_S = 0.5  # between two reports of a task
_LOOK_S = 1.0  # between two looks at what has ended
_LINE_S = 60.0  # between two lines in the log, and before the first
log = logging.getLogger(__name__)

NumberedWork: TypeAlias = Callable[[tuple[int, Any]], Any]


class _Numbers(AccumulatorParam[set[int]]):
    """Numbers of pieces that have ended."""

    def zero(self, value: set[int]) -> set[int]:
        return set()

    def addInPlace(self, value1: set[int], value2: set[int]) -> set[int]:  # noqa: N802 - Spark's name
        return value1 | value2


@dataclass
class _Sender:
    """Sends what share of a piece is done, now and then, by a socket that is connected to the driver's."""

    out: socket.socket
    key: bytes
    piece: int
    due: float = 0.0

    def __call__(self, share: float) -> None:
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + _REPORT_S
            with suppress(OSError):
                self.out.send(_MESSAGE.pack(self.key, self.piece, share))


@dataclass(frozen=True)
class _Reporter:
    """Connects tasks with the driver's address."""

    address: tuple[str, int]
    key: bytes

    @contextmanager
    def reporting(self, piece: int) -> Iterator[None]:
        """Let the driver have what is reported in the block."""
        with ExitStack() as stack:
            with suppress(OSError):  # the fit matters, not the report
                family, kind, _, _, address = socket.getaddrinfo(*self.address, type=socket.SOCK_DGRAM)[0]
                out = stack.enter_context(socket.socket(family, kind))
                out.connect(address)
                out.setblocking(False)
                stack.enter_context(listening(_Sender(out, self.key, piece)))
            yield


@contextmanager
def watch(spark: SparkSession, progress: Progress, about: str, work: Callable[[Any], Any]) -> Iterator[NumberedWork]:
    """Give what does `work` on items that come with their numbers, and keep `progress` up to date in the block.

    Each minute of the block is a line in the log, which begins with what it is `about`.
    """
    inbox, key, ended = _inbox(spark), secrets.token_bytes(16), spark.sparkContext.accumulator(set(), _Numbers())
    reporter, over = _Reporter(inbox.getsockname()[:2], key), Event()

    def numbered(item: tuple[int, Any]) -> Any:
        with reporter.reporting(item[0]):
            answer = work(item[1])
        ended.add({item[0]})
        return answer

    follow = partial(copy_context().run, _follow, inbox, key, ended, progress, about, over)
    follower = Thread(target=follow, name="progress", daemon=True)
    follower.start()
    try:
        yield numbered
    finally:
        over.set()
        with suppress(OSError):
            inbox.sendto(b"", inbox.getsockname())  # it is waiting for one
        follower.join()
        inbox.close()
        ended.value = set()  # Spark never forgets an accumulator


def _inbox(spark: SparkSession) -> socket.socket:
    """Return a socket where tasks' datagrams arrive; where this machine cannot have it, one where none does."""
    host = str(spark.sparkContext.getConf().get("spark.driver.host", "127.0.0.1"))
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        inbox = socket.socket(family, kind)
        with suppress(OSError):
            inbox.bind(address)
    except OSError:  # the name of another network
        inbox = socket.socket(type=socket.SOCK_DGRAM)
    inbox.settimeout(_LOOK_S)
    return inbox


def _follow(
    inbox: socket.socket, key: bytes, ended: Accumulator[set[int]], progress: Progress, about: str, over: Event
) -> None:
    """Keep `progress` up to date until it is `over`."""
    line_due = _LINE_S
    while not over.is_set():
        with suppress(OSError):  # nothing came
            message = inbox.recv(_MESSAGE.size + 1)
            if len(message) == _MESSAGE.size and message.startswith(key):
                progress.report(*_MESSAGE.unpack(message)[1:])
        progress.end(ended.value)
        if progress.elapsed >= line_due:
            line_due = progress.elapsed + _LINE_S
            log.info("%s: %s", about, str(progress))  # as it is now, whenever a handler writes it
