"""Every name that a client delivers is read, or named: what listings leave out, and names that come and go."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bc4all.data.delivery import check_listed
from bc4all.data.filesystem import FileSystem
from bc4all.data.partition import check_unchanged, data_files
from bc4all.errors import DataError, TransientFailure


def test_all_names_are_listed(tmp_path: Path) -> None:
    """Hidden names, a missing folder, and a file that comes while the folder is listed harm nothing."""
    (tmp_path / "a.csv").touch()
    (tmp_path / "_SUCCESS").symlink_to("nothing")
    assert check_listed("train", str(tmp_path), lambda: ["a.csv", "b.csv"]) == ["a.csv", "b.csv"]
    assert check_listed("train", str(tmp_path / "gone"), list) == []


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_a_name_that_comes_or_goes_is_a_change(tmp_path: Path, change: str) -> None:
    """A file that is taken away, or replaced, between two looks is not called broken: a retry helps."""
    file = tmp_path / "a.csv"
    file.touch()
    looks: list[list[str]] = []

    def listing() -> list[str]:
        looks.append(["a.csv"] if looks else [])
        if change == "removed":
            file.unlink(missing_ok=True)
        return looks[-1]

    with pytest.raises(TransientFailure, match="the partition changed while it was read"):
        check_listed("train", str(tmp_path), listing)


def test_a_name_that_no_library_lists(tmp_path: Path) -> None:
    """A file that is there and is never listed is named, in letters that any terminal can show."""
    (tmp_path / os.fsdecode(b"\xff.csv")).touch()
    with pytest.raises(DataError, match=r"train/\\xff\.csv cannot be opened by its name"):
        check_listed("train", str(tmp_path), list)


@pytest.fixture(params=["file", "viewfs"])
def open_folder(request: pytest.FixtureRequest, spark: SparkSession) -> Callable[[Path], tuple[FileSystem, str]]:
    """Open a local folder as it is, or behind a mount."""

    def opened(folder: Path) -> tuple[FileSystem, str]:
        uri = f"file://{folder}"
        if request.param == "viewfs":
            name = folder.parent.name.replace("_", "-")
            spark.sparkContext._jsc.hadoopConfiguration().set(
                f"fs.viewfs.mounttable.{name}.link./mounted", folder.as_uri()
            )
            uri = f"viewfs://{name}/mounted"
        return FileSystem(spark, uri), uri

    return opened


def test_a_broken_link_is_seen_through_hadoop(
    open_folder: Callable[[Path], tuple[FileSystem, str]], tmp_path: Path
) -> None:
    """A link that breaks fails the reader before, and the check for changes after; also behind a viewfs mount."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "a.csv").write_text("x")
    files, uri = open_folder(folder)
    entries = data_files(files, uri)
    check_unchanged(files, uri, entries)
    (folder / "b.csv").symlink_to("b.csv")
    for read in (lambda: data_files(files, uri), lambda: check_unchanged(files, uri, entries)):
        with pytest.raises(DataError, match=r"/b\.csv is a link that leads nowhere"):
            read()
