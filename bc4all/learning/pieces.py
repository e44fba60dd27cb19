"""An object <-> pickled pieces of bounded size: what is too large for one message travels as several.

For what Spark carries between its own driver and workers. Never for files, which could be a stranger's.
"""

import hashlib
import pickle  # nosec B403
from collections.abc import Callable, Iterable
from typing import Any


class _Writer:
    """A file for pickle that hands on what is written in pieces of `size` bytes, the last one shorter."""

    def __init__(self, size: int, take: Callable[[bytes], object]) -> None:
        self._size, self._take, self._room = size, take, bytearray()
        self._sha256, self._length = hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        """Take any bytes-like object; return its length in bytes."""
        with memoryview(data).cast("B") as content:
            self._sha256.update(content)
            self._length += len(content)
            start = 0
            while start < len(content):
                stop = start + self._size - len(self._room)
                self._room += content[start:stop]
                start = stop
                if len(self._room) == self._size:
                    self._hand_on()
            return len(content)

    def end(self) -> tuple[int, bytes]:
        """Hand on the rest; return how many bytes there were in all, and their SHA-256."""
        if self._room:
            self._hand_on()
        return self._length, self._sha256.digest()

    def _hand_on(self) -> None:
        piece, self._room = bytes(self._room), bytearray()
        self._take(piece)


class _Reader:
    """A file for pickle over pieces; it holds one piece at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._piece, self._at = iter(pieces), b"", 0

    def readinto(self, room: Any) -> int:
        """Fill `room`, less at the end; return how many bytes were read."""
        with memoryview(room).cast("B") as wanted:
            filled = 0
            while filled < len(wanted) and self._has_more():
                part = self._piece[self._at : self._at + len(wanted) - filled]
                wanted[filled : filled + len(part)] = part
                self._at += len(part)
                filled += len(part)
            return filled

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        room = bytearray(size)
        return bytes(memoryview(room)[: self.readinto(room)])

    def readline(self) -> bytes:
        """Return what is left of a line, as pickle's protocols 0 and 1 ask."""
        line = bytearray()
        while not line.endswith(b"\n") and self._has_more():
            line += self.read(1)
        return bytes(line)

    def _has_more(self) -> bool:
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True


def write_pieces(value: Any, size: int, take: Callable[[bytes], object]) -> tuple[int, bytes]:
    """Pickle `value` and call `take` with each piece of at most `size` bytes.

    Return the length of all pieces together, in bytes, and their SHA-256.
    """
    writer = _Writer(size, take)
    pickle.dump(value, writer, pickle.HIGHEST_PROTOCOL)
    return writer.end()


def read_pieces(pieces: Iterable[bytes]) -> Any:
    """Return the object that `write_pieces` took apart; each piece is let go of as soon as it is read."""
    # What this application's own tasks or driver have written, and Spark has carried.
    return pickle.load(_Reader(pieces))  # noqa: S301 # nosec B301
