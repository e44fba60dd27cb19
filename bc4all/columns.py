"""What the files of a partition must be: of a known kind, with each column asked for once. Reads nothing."""

import csv
from collections.abc import Sequence

from bc4all.errors import DataError


class MissingColumn(DataError):
    """A file has not all the columns that are needed."""


ANSWERED = "answered"  # a further column of the output, where some products are not

_KINDS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}


def is_data(name: str) -> bool:
    """Whether a file of this name is data: hidden ones (`_SUCCESS`, `.crc`) are not."""
    return not name.startswith(("_", "."))


def data_names(folder: str, names: Sequence[str]) -> list[str]:
    """Those of a folder's `names` that are data. Raises DataError if none is."""
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


def header_names(line: str) -> list[str]:
    """The column names in a CSV file's first line."""
    return [name.strip() for name in next(csv.reader([line.removeprefix("\ufeff")]), [])]


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
