"""The first record of a CSV file that is not blank: the names of its columns."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bc4all.errors import DataError
from bc4all.wording import listed

# First what most headers fit into, and what Java sends at once: more than 6 KB come in two parts, 40 ms apart. At last
# the most that is looked at.
_HEAD_BYTES = (1 << 12, 1 << 16, 1 << 24)

_BREAK = rb"(?:\r\n|\r|\n)"
_BLANK_LINES = re.compile(rb"(?:[^\S\r\n]*" + _BREAK + rb")*")
_SEPARATOR_LINE = re.compile(rb"sep=(.)[^\S\r\n]*" + _BREAK)  # Excel's own first line, which names the separator
# A name may go over lines inside its quotes. One whose further lines hold a comma is rather a quote that is not closed:
# then the header ends with its line.
_QUOTED = rb'"(?:[^"\r\n]|"")*+(?:' + _BREAK + rb'(?:[^",\r\n]|"")*+)*+"'
_NAME = rb"(?>" + _QUOTED + rb"[^,\r\n]*|[^,\r\n]*)"
_HEADER = re.compile(_NAME + rb"(?:," + _NAME + rb")*")
_END_OF_LINE = re.compile(_BREAK + rb"|\Z")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ASK = "deliver a line of column names first"


class MissingColumn(DataError):
    """A file has not all the columns that are needed."""


@dataclass(frozen=True)
class Header:
    """A CSV file's column names, how many of its bytes come before the first record under them, what ends its lines.

    `line_break` is "\\n", also where "\\r\\n" ends lines, or "\\r" where nothing else does.
    """

    names: tuple[str, ...]
    end: int
    line_break: bytes


def find_header(uri: str, read: Callable[[int], bytes]) -> Header | None:
    """Return a CSV file's header, by `read(n)`: its first n bytes, or fewer if there are no more.

    None where every line is blank. Raises DataError where there is none of 8 MiB or less, or the file is of a kind that
    goes by a CSV file's name.
    """
    for size in _HEAD_BYTES:
        head = read(size)
        _refuse_kinds(uri, head)
        start = _start(uri, head)
        end = _HEADER.match(head, start).end()  # type: ignore[union-attr] # it matches the empty text, too
        is_whole = len(head) < size
        if is_whole or end < len(head) // 2:  # well before where the content was cut
            return _header(uri, head, start, end)
    raise DataError("there is no header in the first 8 MiB", uri, _ASK)


def _start(uri: str, head: bytes) -> int:
    """Return where the names begin: behind a byte order mark, blank lines and a line that is meant for Excel."""
    begin = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
    start = _BLANK_LINES.match(head, begin).end()  # type: ignore[union-attr]
    separator = _SEPARATOR_LINE.match(head, start)
    if separator is None:
        return start
    if separator[1] != b",":
        raise _wrong_separator(uri, separator[1].decode(errors="replace"))
    return _BLANK_LINES.match(head, separator.end()).end()  # type: ignore[union-attr]


def _header(uri: str, head: bytes, start: int, end: int) -> Header | None:
    if not head[start:end].strip():
        return None
    line_end = _END_OF_LINE.match(head, end).end()  # type: ignore[union-attr] # the header goes so far
    line_break = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
    return Header(_names(uri, head[start:end]), line_end, line_break)


def _names(uri: str, record: bytes) -> tuple[str, ...]:
    text = record.decode(errors="replace")
    try:
        names = tuple(name.strip() for name in next(csv.reader([text])))
    except csv.Error as error:
        raise DataError(f"the header cannot be read: {error}", uri, _ASK) from error
    separator = next((letter for letter in ";\t|" if letter in text), None)
    if len(names) == 1 and separator:
        raise _wrong_separator(uri, separator)
    return names


def _wrong_separator(uri: str, separator: str) -> DataError:
    return DataError(f"{uri} is separated by {separator!r}", remedy="deliver it with commas, and decimal points")


def _refuse_kinds(uri: str, head: bytes) -> None:
    """Raise DataError for what goes by the name of a CSV file, and is something else."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{uri} is UTF-16", remedy="deliver UTF-8")
    if head.startswith(b"\x1f\x8b"):
        raise DataError(f"{uri} is compressed by gzip", remedy="name it .csv.gz")
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{uri} is a zip archive, or a spreadsheet", remedy="deliver it as CSV")
    if head.startswith(b"PAR1"):
        raise DataError(f"{uri} is a parquet file", remedy="name it .parquet")


def check_columns(uri: str, found: Sequence[str], names: Sequence[str]) -> None:
    """Raise DataError unless each of `names` is among `found` once; more columns do not matter."""
    there = set(found)
    missing = [name for name in names if name not in there]
    if missing:
        raise MissingColumn(
            f"column {listed(missing)} is missing", f"{uri} has {listed(found)}", "deliver it, or change `features`"
        )
    times = Counter(found)
    doubled = [name for name in names if times[name] > 1]
    if doubled:
        raise DataError(f"column {listed(doubled)} is there twice", uri, "deliver it once")
