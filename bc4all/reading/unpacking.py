"""A delivered file's bytes -> those that it holds, piece by piece: never more than a piece in memory."""

import zlib
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Bytes: TypeAlias = bytes | memoryview

PIECE_BYTES = 1 << 20
_SLICE_BYTES = 1 << 14  # given to zlib at once: what is left behind a member is copied, and members can be tiny
_GZIP = 31  # zlib's number for a header and a trailer as gzip writes them


class DamagedFile(ValueError):
    """A compressed file ends too early, or does not hold what it should."""


def pieces_of(content: memoryview) -> Iterator[memoryview]:
    """Yield bytes in pieces."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


def unpacked(pieces: Iterable[Bytes]) -> Iterator[bytes]:
    """Yield what the gzip members of a file hold, one after the other.

    Raises DamagedFile where one is not whole.
    """
    waiting, size = [], 0
    for part in _members(pieces):
        waiting.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _members(pieces: Iterable[Bytes]) -> Iterator[bytes]:
    member = None
    try:
        for piece in pieces:
            for start in range(0, len(piece), _SLICE_BYTES):
                data: Bytes = piece[start : start + _SLICE_BYTES]
                while data:
                    if member is None or member.eof:
                        data = bytes(data).lstrip(b"\0")  # which may pad a file behind its last member
                        member = zlib.decompressobj(_GZIP) if data else member
                    if data and member is not None:
                        yield member.decompress(data, PIECE_BYTES)
                        data = member.unused_data if member.eof else member.unconsumed_tail
    except zlib.error as error:
        raise DamagedFile(str(error)) from error
    if member is not None and not member.eof:
        raise DamagedFile("it ends in the middle of its compressed data")
