"""A local prefix's files by Python's own calls: what comes out is what Hadoop's give."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bc4all.data.filesystem import FileSystem
from bc4all.errors import DataError, TransientFailure

pytestmark = pytest.mark.java


@pytest.fixture(params=["Python's", "Hadoop's"])
def files(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> FileSystem:
    """Either way to the files of a folder of this machine."""
    opened = FileSystem(spark, tmp_path.as_uri())
    if request.param == "Hadoop's":
        opened._local = None
    else:
        assert opened._local
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with what can lie in one; what is made in it has the permissions that Hadoop's settings give."""
    made = tmp_path / "a folder"
    (made / "inside").mkdir(parents=True)
    (made / "b.csv").write_text("12")
    (made / "a:b.csv").write_text("")
    (made / ".hidden").write_text("")
    (made / ".b.csv.crc").write_text("checksums")
    (made / "link.csv").symlink_to("b.csv")
    (made / "nowhere.csv").symlink_to("c.csv")
    (made / "itself.csv").symlink_to("itself.csv")
    (made / "through.csv").symlink_to("b.csv/y")
    os.utime(made / "b.csv", ns=(0, 1_234_567_899_999_999))
    before = os.umask(0o077)
    yield made
    os.umask(before)


def test_a_listing(files: FileSystem, folder: Path) -> None:
    """Files and folders by name, links by what they lead to; no checksums, and no links that lead nowhere."""
    uri = f"file://{folder}"
    found = [(one.name, one.is_file, one.uri) for one in files.listing(uri)]
    names = [(".hidden", True), ("a:b.csv", True), ("b.csv", True), ("inside", False), ("link.csv", True)]
    assert found == [(name, is_file, f"{uri}/{name}") for name, is_file in names]
    by_name = {one.name: (one.size, one.changed) for one in files.listing(uri)}
    assert by_name["b.csv"] == by_name["link.csv"] == (2, 1_234_567_899)
    assert files.listing(f"{uri}/none") == []
    assert [(one.name, one.size) for one in files.listing(f"{uri}/b.csv")] == [("b.csv", 2)]
    assert [files.exists(f"{uri}/{name}") for name in ("b.csv", "inside", "nowhere.csv")] == [True, True, False]
    if files._local:
        assert (files.local_folder(uri), files.local_folder(f"{uri}/none")) == (str(folder), None)


def test_a_name_that_java_may_not_know(files: FileSystem, folder: Path) -> None:
    """A folder with one is listed by Hadoop, so that a delivery which it cannot open is still reported."""
    (folder / "ä.csv").write_text("")
    if files._local:
        assert files._local.listing(f"file://{folder}") is None
    listed = {one.name for one in files.listing(f"file://{folder}")}
    assert listed - {"ä.csv"} == {".hidden", "a:b.csv", "b.csv", "inside", "link.csv"}


def test_texts(files: FileSystem, folder: Path) -> None:
    """One is written whole, over another and its checksums, with Hadoop's permissions, and read again."""
    uri = f"file://{folder}/new/deep/text"
    for text in ("one", "äther"):
        files.write_text(uri, text)
        assert files.read_text(uri) == text
    assert [one.name for one in files.listing(f"file://{folder}/new/deep")] == ["text"]
    modes = [(folder / name).stat().st_mode & 0o777 for name in ("new", "new/deep", "new/deep/text")]
    assert modes == [0o755, 0o755, 0o644]
    assert files.read_text(f"{uri}/none") is files.read_text(f"file://{folder}/none") is None
    (folder / "latin").write_bytes(b"\xe4")
    with pytest.raises(DataError, match="latin is not UTF-8"):
        files.read_text(f"file://{folder}/latin")


def test_checksums_are_compared_where_there_are_some(files: FileSystem, folder: Path) -> None:
    """A text that was changed beside Hadoop's checksums of it is refused."""
    files._fs.create(files._path(f"file://{folder}/text")).close()
    assert files.read_text(f"file://{folder}/text") == ""
    (folder / "text").write_text("another")
    with pytest.raises(DataError, match="is not what its checksums were made of"):
        files.read_text(f"file://{folder}/text")


def test_moves_copies_and_removals(files: FileSystem, folder: Path) -> None:
    """A folder goes to a name that is free, a copy has its permissions, what is removed takes no link's file along."""
    uri = f"file://{folder}"
    files.write_text(f"{uri}/inside/part", "rows")
    files.rename(f"{uri}/inside", f"{uri}/above/there")
    assert (folder / "above" / "there" / "part").read_text() == "rows"
    assert (folder / "above").stat().st_mode & 0o777 == 0o755
    with pytest.raises(TransientFailure, match=f"could not move {uri}/above"):
        files.rename(f"{uri}/above", f"{uri}/b.csv")
    files.copy(f"{uri}/above/there/part", f"{uri}/copies/part")
    assert (folder / "copies" / "part").stat().st_mode & 0o777 == 0o644
    (folder / "above" / "there" / "link").symlink_to(folder / "copies")
    (folder / "leads").symlink_to(folder / "copies")
    for name in ("above", "leads", "b.csv", "none"):
        files.delete(f"{uri}/{name}")
        assert not os.path.lexists(folder / name)
    assert not (folder / ".b.csv.crc").exists()
    assert (folder / "copies" / "part").read_text() == "rows"


def test_a_copy_has_checksums_where_the_file_has(files: FileSystem, folder: Path) -> None:
    """With the permissions of all that is written."""
    uri = f"file://{folder}"
    files._fs.create(files._path(f"{uri}/written")).close()
    files.copy(f"{uri}/written", f"{uri}/copies/written")
    modes = [(folder / "copies" / name).stat().st_mode & 0o777 for name in ("written", ".written.crc")]
    assert modes == [0o644, 0o644]


def test_a_folder_inherits_what_folders_do(files: FileSystem, folder: Path) -> None:
    """Such as its group, where the folder above says so."""
    (folder / "inside").chmod(0o2755)
    files.write_text(f"file://{folder}/inside/new/text", "")
    assert (folder / "inside" / "new").stat().st_mode & 0o7777 == 0o2755


def test_a_storage_that_does_not_answer_is_no_missing_file(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published counts as gone only where the system says so."""
    files = FileSystem(spark, folder.as_uri())
    assert files.read_text(f"file://{folder}/none") is None
    look = os.stat

    def away(path: object, **options: object) -> os.stat_result:
        if str(path).endswith("b.csv"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return look(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("bc4all.data.local_storage.os.stat", away)
    uri = f"file://{folder}/b.csv"
    for ask in (files.exists, files.delete, files.read_text, lambda uri: files.rename(f"file://{folder}/inside", uri)):
        with pytest.raises(TransientFailure, match=r"Input/output error .*b\.csv"):
            ask(uri)
    assert (folder / "b.csv").read_text() == "12"


def test_what_cannot_be_removed_keeps_nothing_else(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else goes, what is gone by then is no fault, and what is left is reported."""
    files, unlink = FileSystem(spark, folder.as_uri()), os.unlink

    def refuse(name: object, **options: object) -> None:
        if name == "b.csv":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        unlink(name, **options)  # type: ignore[arg-type]
        if name == ".hidden":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)  # as if by another process

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(TransientFailure, match="Operation not permitted"):
            files.delete(f"file://{folder}")
    assert [one.name for one in folder.iterdir()] == ["b.csv"]


def test_what_the_system_refuses_may_pass(files: FileSystem, folder: Path) -> None:
    """A file where a folder is needed: a failure that names the place."""
    with pytest.raises(TransientFailure, match=r"b\.csv/text"):
        files.write_text(f"file://{folder}/b.csv/text", "")
