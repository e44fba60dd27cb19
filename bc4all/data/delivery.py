"""What a client has delivered by the names in its folder, where that is a folder of this machine.

Hadoop and Arrow leave out of a listing what they cannot look at, such as a link that leads nowhere: each name that the
folder itself shows must be among those that they list. Nothing here opens a file.
"""

import os
from collections.abc import Callable, Sequence

from bc4all.errors import DataError, TransientFailure
from bc4all.kinds import NUMERIC

_KINDS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}
_MAX_TYPE_CHARS = 100  # of a structure of thousands of fields
_REMEDY = "deliver the file itself, or remove the name"


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
    """Return `csv` or `parquet`, by the file's name. Raises DataError for any other."""
    for ending, kind in _KINDS.items():
        if uri.endswith(ending):
            return kind
    raise DataError(f"{uri} is not a csv, csv.gz or parquet file", remedy="move it out of the partition")


def check_name(uri: str, is_file: bool) -> None:
    """Raise DataError where a name is that of a folder, or one that Hadoop does not open."""
    if not is_file:
        raise DataError(f"{uri} is a folder", remedy="deliver the files in it, not the folder")
    if ":" in uri.rpartition("/")[2]:
        raise DataError(f"{uri} has a colon in its name", remedy="Hadoop opens no such file: give it another name")


def wrong_type(uri: str, name: str, shown: str, kind: str | None) -> DataError:
    """Return the failure of a parquet column of a type that is not taken; `kind` is None for an id or a category."""
    remedy = f"deliver it as {'a number' if kind == NUMERIC else 'text'}"
    return DataError(f"column {name} is {shown[:_MAX_TYPE_CHARS]}", uri, remedy)


def changed(folder: str) -> TransientFailure:
    """Return the failure of a partition that is not what it was when a job began to read it."""
    remedy = "nothing was published; run it again when it is complete"
    return TransientFailure("the partition changed while it was read", folder, remedy)


def check_listed(folder: str, path: str, listing: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Return what `listing` gives of the names in a folder, which lies at `path`, if no data is left out.

    Raises DataError by the name that is left out, TransientFailure where it came or went in the meantime.
    """
    names = _data_names(path)
    listed = listing()
    left_out = sorted(set(names) - set(listed))
    if left_out:
        raise _left_out(folder, path, left_out[0], listing)
    return listed


def _left_out(folder: str, path: str, name: str, listing: Callable[[], Sequence[str]]) -> DataError | TransientFailure:
    file = os.path.join(path, name)
    uri = f"{folder}/{os.fsencode(name).decode(errors='backslashreplace')}"
    if os.path.islink(file) and not os.path.exists(file):
        return DataError(f"{uri} is a link that leads nowhere", remedy=_REMEDY)
    if not os.path.lexists(file) or name in listing():
        return changed(folder)
    return DataError(f"{uri} cannot be opened by its name", remedy="deliver it under a name of ASCII letters")


def _data_names(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if is_data(name)]
    except FileNotFoundError:
        return []  # the client has delivered nothing, or the folder was taken away: the listing finds out
    except OSError as error:
        raise TransientFailure(f"the folder cannot be listed: {error.strerror}", path, "check the storage") from error
