"""What the files of a partition must be: of a known kind, with each column asked for once. Reads nothing."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bc4all.errors import DataError


class MissingColumn(DataError):
    """A file has not all the columns that are needed."""


@dataclass(frozen=True)
class Header:
    """The first record of a CSV file that is not blank: its names, and how many lines of text it takes.

    `after_blank` tells whether blank lines stand before it; `line_break` is "\\r" where it ends so, else "\\n".
    """

    names: tuple[str, ...]
    lines: int
    after_blank: bool
    line_break: str


# One line that is not blank, of a text of many: Java and Python read it alike (white space is ASCII's, in both).
LINE_OF_TEXT = r"\S[^\r\n]*"
_BREAK = r"(?:\r\n|\r|\n)"
_BLANK_LINES = re.compile(rf"(?:[^\S\r\n]*{_BREAK})*", re.ASCII)
# A name may go over lines inside its quotes. One whose further lines hold a comma is rather a quote that is not closed:
# then the header ends with its line.
_QUOTED = rf'"(?:[^"\r\n]|"")*+(?:{_BREAK}(?:[^",\r\n]|"")*+)*+"'
_NAME = rf"(?>{_QUOTED}[^,\r\n]*|[^,\r\n]*)"
_HEADER = re.compile(rf"{_NAME}(?:,{_NAME})*")
_HEADER_BYTES = (1 << 16, 1 << 24)  # first what nearly every header fits into, then the most that is looked at

_KINDS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}


def is_data(name: str) -> bool:
    """Return whether a file of this name is data: hidden ones (`_SUCCESS`, `.crc`) are not."""
    return not name.startswith(("_", "."))


def data_names(folder: str, names: Sequence[str]) -> list[str]:
    """Return those of a folder's `names` that are data. Raises DataError if none is."""
    found = [name for name in names if is_data(name)]
    if not found:
        raise DataError("there is no partition", folder, "deliver csv, csv.gz or parquet files there")
    return found


def file_kind(uri: str) -> str:
    """`csv` or `parquet`, by the file's name. Raises DataError for any other."""
    for ending, kind in _KINDS.items():
        if uri.endswith(ending):
            return kind
    raise DataError(f"{uri} is not a csv, csv.gz or parquet file", remedy="move it out of the partition")


def find_header(uri: str, read: Callable[[int], bytes]) -> Header | None:
    """Return a CSV file's header, by `read(n)`: its first n bytes, or fewer if there are no more.

    None where every line is blank. Raises DataError where it is longer than 8 MiB, or no CSV.
    """
    for size in _HEADER_BYTES:
        content = read(size)
        text = content.decode(errors="replace").removeprefix("\ufeff")
        start = _BLANK_LINES.match(text).end()  # type: ignore[union-attr] # it matches the empty text, too
        end = _HEADER.match(text, start).end()  # type: ignore[union-attr]
        is_whole = len(content) < size
        if is_whole or end < len(text) // 2:  # well before where the content was cut
            return _header(uri, text, start, end)
    raise DataError("there is no header in the first 8 MiB", uri, "deliver a line of column names first")


def _header(uri: str, text: str, start: int, end: int) -> Header | None:
    record = text[start:end]
    lines = len(re.findall(LINE_OF_TEXT, record, re.ASCII))
    if not lines:
        return None
    try:
        names = tuple(name.strip() for name in next(csv.reader([record])))
    except csv.Error as error:
        raise DataError(f"the header cannot be read: {error}", uri, "deliver a line of column names first") from error
    ends_in_return = text[end : end + 1] == "\r" and text[end : end + 2] != "\r\n"
    return Header(names, lines, start > 0, "\r" if ends_in_return else "\n")


def check_columns(uri: str, found: Sequence[str], names: Sequence[str]) -> None:
    """Raise DataError unless each of `names` is among `found` once; more columns do not matter."""
    missing = [name for name in names if name not in found]
    if missing:
        shown = ", ".join(found[:20]) + (", …" if len(found) > 20 else "")
        raise MissingColumn(
            f"column {', '.join(missing)} is missing", f"{uri} has {shown}", "deliver it, or change `features`"
        )
    doubled = [name for name in names if list(found).count(name) > 1]
    if doubled:
        raise DataError(f"column {', '.join(doubled)} is there twice", uri, "deliver it once")
