"""What a client has delivered by the names in its folder, where that is a folder of this machine.

Hadoop and Arrow leave out of a listing what they cannot look at, such as a link that leads nowhere: each name that the
folder itself shows must be among those that they list. Nothing here opens a file.
"""

import os
from collections.abc import Callable, Sequence

from bc4all.data.columns import is_data
from bc4all.errors import DataError, TransientFailure

_REMEDY = "deliver the file itself, or remove the name"


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
