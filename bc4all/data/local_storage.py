"""The files of a prefix on this machine, by Python's own calls.

Hadoop's take five questions to Java for each name of a listing, and start a process for each folder's permissions,
10 ms each; and it copies a folder that it cannot rename, in sight of its readers. What comes out is otherwise the same,
with the checksums that Hadoop keeps beside its files, and never lists.
"""

import errno
import os
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from bc4all.data.entry import Entry
from bc4all.errors import Failure, TransientFailure
from bc4all.layout import local_path

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NOT_TO_BE_SEEN = (*_NOT_THERE, errno.EACCES, errno.ENAMETOOLONG)  # what Hadoop leaves out of a listing


class LocalStorage:
    """Every method takes URIs. Raises TransientFailure for what the system refuses."""

    def __init__(self, umask: int) -> None:
        self._umask = umask  # Hadoop's, which may be another than this process's

    def exists(self, uri: str) -> bool:
        """Return whether there is a file or folder."""
        return self._status(uri) is not None

    def listing(self, folder: str) -> list[Entry] | None:
        """Return what lies directly in a folder, by name; None where Hadoop has to be asked."""
        path = local_path(folder)
        with _refused(folder):
            try:
                names = sorted(os.listdir(path))
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                return None
            if not all(map(str.isascii, names)):  # Java may know others by another name, or not at all
                return None
            found = (_entry(folder, path, name) for name in names if not _is_checksums(name))
            return [entry for entry in found if entry]

    def has_checksums(self, uri: str) -> bool:
        """Return whether Hadoop keeps checksums of a file, which it compares when it reads it."""
        with _refused(uri):
            return _is_there(_checksums(local_path(uri)))

    def read(self, uri: str) -> bytes | None:
        """Return what a file holds; None where there is none."""
        with _refused(uri):
            try:
                return local_path(uri).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, uri: str, content: bytes) -> None:
        """Write a file, whole or not at all, making the folders above it."""
        file = local_path(uri)
        unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        with _refused(uri):
            self._make_folder(file.parent)
            try:
                unfinished.write_bytes(content)
                unfinished.chmod(0o666 & ~self._umask)
                _checksums(file).unlink(missing_ok=True)  # of the file that was there
                unfinished.replace(file)
            finally:
                unfinished.unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """Copy a file and its checksums, making the folders above the copy."""
        here, there = local_path(source), local_path(target)
        with _refused(target):
            self._make_folder(there.parent)
            self._copy_file(here, there)
            if _is_there(_checksums(here)):
                self._copy_file(_checksums(here), _checksums(there))

    def is_folder(self, uri: str) -> bool:
        """Return whether there is a folder."""
        found = self._status(uri)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def move_folder(self, source: str, target: str) -> bool:
        """Move a folder in one step, making those above it; False where its new name is taken.

        Raises Failure where the new place is on another file system.
        """
        there = local_path(target)
        with _refused(target):
            self._make_folder(there.parent)
            if _is_there(there):
                return False
        try:
            local_path(source).rename(there)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise TransientFailure(f"could not move {source}: {error.strerror}", f"to {target}") from error
            remedy = "let all folders of DATA_PREFIX lie on one file system"
            raise Failure(f"could not move {source}: another file system", f"to {target}", remedy) from error
        return True

    def delete(self, uri: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none."""
        path = local_path(uri)
        refused: list[OSError] = []

        def went_wrong(_: Any, __: str, raised: Any) -> None:
            if not isinstance(raised[1], FileNotFoundError):  # else another process removes the same
                refused.append(raised[1])

        with _refused(uri):
            if self.is_folder(uri) and not path.is_symlink():
                rmtree(path, onerror=went_wrong)  # as much of it as can be
            else:
                for one in (path, _checksums(path)):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        os.unlink(one)
            if refused:
                raise refused[0]

    def _status(self, uri: str) -> os.stat_result | None:
        with _refused(uri):
            return _status(local_path(uri), _NOT_THERE)

    def _copy_file(self, source: Path, target: Path) -> None:
        copyfile(source, target)
        target.chmod(0o666 & ~self._umask)

    def _make_folder(self, folder: Path) -> None:
        missing = [one for one in (folder, *folder.parents) if not _is_there(one)]
        for one in reversed(missing):
            with suppress(FileExistsError):  # another client's job has made it meanwhile
                one.mkdir()
                inherited = stat.S_IMODE(one.stat().st_mode) & ~0o777  # the group of the folder above, say
                one.chmod(inherited | (0o777 & ~self._umask))


def _entry(folder: str, path: Path, name: str) -> Entry | None:
    """Return an entry of a listing; None for a link that leads nowhere, and for what is gone by now."""
    found = _status(path / name, _NOT_TO_BE_SEEN)
    if found is None:
        return None
    is_file = not stat.S_ISDIR(found.st_mode)
    return Entry(f"{folder}/{name}", name, found.st_size, is_file, found.st_mtime_ns // 1_000_000)


def _checksums(file: Path) -> Path:
    """Return where Hadoop keeps the checksums of a file."""
    return file.with_name(f".{file.name}.crc")


def _is_checksums(name: str) -> bool:
    return name.startswith(".") and name.endswith(".crc")


def _is_there(path: Path) -> bool:
    return _status(path, _NOT_THERE) is not None


def _status(path: Path, missing: Collection[int]) -> os.stat_result | None:
    """Return what the system says of a path, or of what a link leads to; None for the errors of `missing`."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in missing:
            return None
        raise


@contextmanager
def _refused(uri: str) -> Iterator[None]:
    """Give what the system refuses as a failure that names the URI."""
    try:
        yield
    except OSError as error:
        raise TransientFailure(error.strerror or str(error), uri, "check the storage") from error
