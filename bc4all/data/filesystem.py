"""Hadoop's FileSystem, as far as the jobs need it: one way to list, read, write and rename on any storage.

Every method takes URIs as `layout` builds them. Java's I/O errors come out as TransientFailure.
"""

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructType

from bc4all.data.failures import causes, is_stale_checksum, stale_checksum, tells_of_damage
from bc4all.errors import DataError, Failure, TransientFailure

# Where a folder is renamed in one step. Elsewhere, as far as anyone knows, file after file is copied and deleted, and
# a reader can meet the middle of it.
_FILE_SYSTEMS = ("file", "hdfs", "webhdfs", "swebhdfs")
_AZURE = ("abfs", "abfss")  # a file system where the account has a hierarchical namespace, and so access lists

_GLOB = re.compile(r"([*?\[\]{}\\])")


@dataclass(frozen=True)
class Entry:
    """A file or folder of a listing: its URI, its last name, its size in bytes, when it last changed.

    `changed` is in milliseconds since 1970 by the storage's clock; of a folder it means nothing in an object store.
    """

    uri: str
    name: str
    size: int
    is_file: bool
    changed: int


def _entry(folder: str, status: Any) -> Entry:
    name = str(status.getPath().getName())
    return Entry(f"{folder}/{name}", name, status.getLen(), status.isFile(), status.getModificationTime())


def escape_glob(uri: str) -> str:
    """Return `uri` so that Spark's readers take it as one path, not as a pattern."""
    return _GLOB.sub(r"\\\1", uri)


class FileSystem:
    """The file system that holds a prefix."""

    def __init__(self, spark: SparkSession, prefix: str) -> None:
        self._jvm: Any = spark._jvm
        self._prefix = prefix
        self._configuration = spark.sparkContext._jsc.hadoopConfiguration()
        self._conf = spark._jsparkSession.sessionState().conf()
        with _translated(prefix):
            self._fs = self._path(prefix).getFileSystem(self._configuration)

    @cached_property
    def _path(self) -> Any:
        """Java's class of paths; it is looked up by a question for each part of its name."""
        return self._jvm.org.apache.hadoop.fs.Path

    @cached_property
    def _umask(self) -> int:
        return int(self._jvm.org.apache.hadoop.fs.permission.FsPermission.getUMask(self._configuration).toShort())

    @cached_property
    def _codecs(self) -> Any:
        return self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self._configuration)

    @cached_property
    def _to_bytes(self) -> Any:
        return self._jvm.org.apache.commons.io.IOUtils.toByteArray

    @property
    def renames_atomically(self) -> bool:
        """Whether a folder moves in one step, as in a file system; in an object store it does not."""
        path = self._path(self._prefix)
        with _translated(self._prefix):
            # A viewfs mount says what lies behind it, once it is there.
            scheme = str(
                (self._fs.resolvePath(path).toUri() if self.exists(self._prefix) else self._fs.getUri()).getScheme()
            )
            if scheme in _AZURE:
                return bool(self._fs.hasPathCapability(path, "fs.capability.paths.acls"))
        return scheme in _FILE_SYSTEMS

    @property
    def _is_local(self) -> bool:
        return str(self._fs.getUri().getScheme()) == "file"

    def exists(self, uri: str) -> bool:
        """Return whether there is a file or folder."""
        with _translated(uri):
            return bool(self._fs.exists(self._path(uri)))

    def listing(self, folder: str) -> list[Entry]:
        """Return what lies directly in a folder, by name; empty where there is no such folder."""
        with _translated(folder):
            try:
                found = self._fs.listStatus(self._path(folder))
            except Py4JJavaError as error:
                if error.java_exception.getClass().getSimpleName() == "FileNotFoundException":
                    return []
                raise
        return sorted((_entry(folder, status) for status in found), key=lambda entry: entry.name)

    def local_folder(self, folder: str) -> str | None:
        """Return the path of a folder on this machine, also behind a viewfs mount; None where there is none."""
        path = self._path(folder)
        if str(self._fs.getUri().getScheme()) not in ("file", "viewfs") or not self.exists(folder):
            return None
        with _translated(folder):
            uri = self._fs.resolvePath(path).toUri()
        return str(uri.getPath()) if str(uri.getScheme()) == "file" else None

    def head(self, uri: str, size: int) -> bytes:
        """Return the first `size` bytes of what a file holds, compressed or not; all of it where it holds fewer."""
        path = self._path(uri)
        codec = self._codecs.getCodec(path)
        with _translated(uri):
            stream = self._fs.open(path)
            try:
                if codec is not None:
                    stream = codec.createInputStream(stream)
                return bytes(stream.readNBytes(size))
            finally:
                stream.close()

    def path(self, uri: str) -> str:
        """Return how a listing of Hadoop writes the path of a URI: with the file system's host, where it has one."""
        return str(self._fs.makeQualified(self._path(uri)).toString())

    def escaped_path(self, uri: str) -> str:
        """Return the same with escapes, such as %20 for a space."""
        return str(self._path(self.path(uri)).toUri().toString())

    def parquet_footer(self, uri: str) -> tuple[list[tuple[str, Any]], int]:
        """Return the columns of a parquet file as (name, Java object), and the number of its rows, by its footer."""
        hadoop = self._jvm.org.apache.parquet.hadoop
        with _translated(uri, "is not a readable parquet file"):
            source = hadoop.util.HadoopInputFile.fromPath(self._path(uri), self._configuration)
            reader = hadoop.ParquetFileReader.open(source)
            try:
                fields = reader.getFooter().getFileMetaData().getSchema().getFields()
                return [(field.getName(), field) for field in fields], reader.getRecordCount()
            finally:
                reader.close()

    def spark_types(self, fields: Sequence[Any]) -> list[DataType | None]:
        """Return the types as which Spark reads parquet columns; None for one of a kind that it does not read."""
        message = self._jvm.org.apache.parquet.schema.MessageType("file", self._jvm.java.util.ArrayList(list(fields)))
        parquet = self._jvm.org.apache.spark.sql.execution.datasources.parquet
        try:
            schema = parquet.ParquetToSparkSchemaConverter(self._conf).convert(message)
        except PySparkException:
            return [None] if len(fields) == 1 else [self.spark_types([field])[0] for field in fields]
        return [field.dataType for field in StructType.fromJson(json.loads(schema.json()))]

    def read_text(self, uri: str) -> str | None:
        """Return a small file as UTF-8; None where there is none. Raises DataError where it is not UTF-8."""
        if not self.exists(uri):
            return None
        with _translated(uri):
            stream = self._fs.open(self._path(uri))
            try:
                content = bytes(self._to_bytes(stream))
            finally:
                stream.close()
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{uri} is not UTF-8", str(error)) from error

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file as UTF-8, replacing one that is there."""
        if self._is_local:
            _write(Path(self._path(uri).toUri().getPath()), text, self._umask, uri)
            return
        with _translated(uri):
            stream = self._fs.create(self._path(uri), True)
            try:
                stream.write(bytearray(text.encode()))
            finally:
                stream.close()

    def time(self, folder: str) -> float:
        """Return the storage's own time, in seconds since 1970, to which its files' ages refer."""
        probe = f"{folder}/.time.{uuid.uuid4().hex}"
        self.write_text(probe, "")
        with _translated(probe):
            changed: int = self._fs.getFileStatus(self._path(probe)).getModificationTime()
        self.delete(probe)
        return changed / 1000

    def rename(self, source: str, target: str) -> None:
        """Move a file or folder to a name that is free, making the folders above it."""
        source_path, target_path = self._path(source), self._path(target)
        with _translated(target):
            self._fs.mkdirs(target_path.getParent())
            is_local_folder = self._is_local and self._fs.getFileStatus(source_path).isDirectory()
            rename = _renamed if is_local_folder else self._fs.rename
            moved = not self._fs.exists(target_path) and rename(source_path, target_path)
        if not moved:
            raise TransientFailure(f"could not move {source}", f"to {target}", "see whether another job writes there")

    def copy(self, source: str, target: str) -> None:
        """Copy a file, making the folders above the copy; on this machine with the checksums beside it."""
        with _translated(source):
            if self._is_local:
                here, there = (Path(self._path(uri).toUri().getPath()) for uri in (source, target))
                _copy(here, there, self._umask, target)
                return
            copy = self._jvm.org.apache.hadoop.fs.FileUtil.copy
            copy(self._fs, self._path(source), self._fs, self._path(target), False, self._configuration)

    def delete(self, uri: str) -> None:
        """Remove a file or a whole folder; nothing happens where there is none."""
        with _translated(uri):
            self._fs.delete(self._path(uri), True)


def _write(file: Path, text: str, umask: int, uri: str) -> None:
    """Write a file of this machine, whole or not at all. Hadoop would start a process for its permissions: 10 ms."""
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.parent.chmod(0o777 & ~umask)
        try:
            unfinished.write_bytes(text.encode())
            unfinished.chmod(0o666 & ~umask)
            file.with_name(f".{file.name}.crc").unlink(missing_ok=True)  # Hadoop's, of the file that was there
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise TransientFailure(f"{error.strerror}", uri, "check the storage") from error


def _copy(source: Path, target: Path, umask: int, uri: str) -> None:
    """Copy a file of this machine. Hadoop would start a process for the permissions of each."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in (source.name, f".{source.name}.crc"):
            if (source.parent / name).exists():
                shutil.copyfile(source.parent / name, target.parent / name)
                (target.parent / name).chmod(0o666 & ~umask)
    except OSError as error:
        raise TransientFailure(f"{error.strerror}", uri, "check the storage") from error


def _renamed(source: Any, target: Any) -> bool:
    """Rename a local folder, and nothing else: where that fails, Hadoop would copy it in sight of its readers."""
    try:
        os.rename(source.toUri().getPath(), target.toUri().getPath())
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise TransientFailure(f"could not move {source}: {error.strerror}", f"to {target}") from error
        remedy = "let all folders of DATA_PREFIX lie on one file system"
        raise Failure(f"could not move {source}: another file system", f"to {target}", remedy) from error
    return True


@contextmanager
def _translated(uri: str, broken: str = "is truncated or damaged") -> Iterator[None]:
    """Java's I/O errors as failures that name the path: damaged content is terminal, all else may pass."""
    try:
        yield
    except Py4JJavaError as error:
        name, text = error.java_exception.getClass().getName(), str(error.java_exception.getMessage())
        if is_stale_checksum(causes(error)):
            raise stale_checksum(uri) from error
        if tells_of_damage(causes(error)):
            raise DataError(f"{uri} {broken}", text[:200], "deliver the file again") from error
        raise TransientFailure(f"{name.rpartition('.')[2]}: {text[:200]}", uri, "check the storage") from error
