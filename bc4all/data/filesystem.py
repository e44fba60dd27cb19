"""Hadoop's FileSystem, as far as the jobs need it: one way to list, read, write and rename on any storage.

Every method takes URIs as `layout` builds them. Java's I/O errors come out as TransientFailure. What Python can do to a
folder of this machine goes by `local_storage`.
"""

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import DataType, StructType

from bc4all.data.entry import Entry
from bc4all.data.failures import causes, is_stale_checksum, stale_checksum, tells_of_damage
from bc4all.data.local_storage import LocalStorage
from bc4all.errors import DataError, TransientFailure
from bc4all.layout import local_path

# Where a folder is renamed in one step. Elsewhere, as far as anyone knows, file after file is copied and deleted, and
# a reader can meet the middle of it.
_FILE_SYSTEMS = ("file", "hdfs", "webhdfs", "swebhdfs")
_AZURE = ("abfs", "abfss")  # a file system where the account has a hierarchical namespace, and so access lists

_GLOB = re.compile(r"([*?\[\]{}\\])")


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
    def _local(self) -> LocalStorage | None:
        """What does without Java, where the prefix is a folder of this machine and no mount hides it."""
        if str(self._fs.getUri().getScheme()) != "file":
            return None
        permission = self._jvm.org.apache.hadoop.fs.permission.FsPermission
        return LocalStorage(int(permission.getUMask(self._configuration).toShort()))

    @cached_property
    def _codecs(self) -> Any:
        return self._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(self._configuration)

    @cached_property
    def _input_file(self) -> Any:
        return self._jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath

    @cached_property
    def _open_parquet(self) -> Any:
        return self._jvm.org.apache.parquet.hadoop.ParquetFileReader.open

    @cached_property
    def _to_bytes(self) -> Any:
        return self._jvm.org.apache.commons.io.IOUtils.toByteArray

    @property
    def renames_atomically(self) -> bool:
        """Whether a folder moves in one step, as in a file system; in an object store it does not."""
        if self._local:
            return True
        path = self._path(self._prefix)
        with _translated(self._prefix):
            # A viewfs mount says what lies behind it, once it is there.
            scheme = str(
                (self._fs.resolvePath(path).toUri() if self.exists(self._prefix) else self._fs.getUri()).getScheme()
            )
            if scheme in _AZURE:
                return bool(self._fs.hasPathCapability(path, "fs.capability.paths.acls"))
        return scheme in _FILE_SYSTEMS

    def exists(self, uri: str) -> bool:
        """Return whether there is a file or folder."""
        if self._local:
            return self._local.exists(uri)
        with _translated(uri):
            return bool(self._fs.exists(self._path(uri)))

    def listing(self, folder: str) -> list[Entry]:
        """Return what lies directly in a folder, by name; empty where there is no such folder."""
        here = self._local.listing(folder) if self._local else None
        if here is not None:
            return here
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
        if self._local:
            return str(local_path(folder)) if self.exists(folder) else None
        if str(self._fs.getUri().getScheme()) != "viewfs" or not self.exists(folder):
            return None
        with _translated(folder):
            uri = self._fs.resolvePath(self._path(folder)).toUri()
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
        with self._parquet_reader(uri) as reader:
            fields = reader.getFooter().getFileMetaData().getSchema().getFields()
            return [(field.getName(), field) for field in fields], reader.getRecordCount()

    def parquet_rows(self, uri: str) -> int:
        """Return the number of a parquet file's rows, by its footer."""
        with self._parquet_reader(uri) as reader:
            return int(reader.getRecordCount())

    @contextmanager
    def _parquet_reader(self, uri: str) -> Iterator[Any]:
        """Open a parquet file in Java, where its footer is read."""
        with _translated(uri, "is not a readable parquet file"):
            reader = self._open_parquet(self._input_file(self._path(uri), self._configuration))
            try:
                yield reader
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
        without_java = self._local if self._local and not self._local.has_checksums(uri) else None
        content = without_java.read(uri) if without_java else self._read(uri)
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{uri} is not UTF-8", str(error)) from error

    def _read(self, uri: str) -> bytes | None:
        if not self.exists(uri):
            return None
        with _translated(uri):
            stream = self._fs.open(self._path(uri))
            try:
                return bytes(self._to_bytes(stream))
            finally:
                stream.close()

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file as UTF-8, replacing one that is there."""
        if self._local:
            self._local.write(uri, text.encode())
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
        if self._local and self._local.is_folder(source):
            moved = self._local.move_folder(source, target)
        else:
            source_path, target_path = self._path(source), self._path(target)
            with _translated(target):
                self._fs.mkdirs(target_path.getParent())
                moved = not self._fs.exists(target_path) and self._fs.rename(source_path, target_path)
        if not moved:
            raise TransientFailure(f"could not move {source}", f"to {target}", "see whether another job writes there")

    def copy(self, source: str, target: str) -> None:
        """Copy a file, making the folders above the copy; on this machine with the checksums beside it."""
        if self._local:
            self._local.copy(source, target)
            return
        with _translated(source):
            copy = self._jvm.org.apache.hadoop.fs.FileUtil.copy
            copy(self._fs, self._path(source), self._fs, self._path(target), False, self._configuration)

    def delete(self, uri: str) -> None:
        """Remove a file or a whole folder; nothing happens where there is none."""
        if self._local:
            self._local.delete(uri)
            return
        with _translated(uri):
            self._fs.delete(self._path(uri), True)


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
