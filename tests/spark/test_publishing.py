"""Stage, audit, publish, recover: nothing that is wrong goes live, and nothing that was live is lost."""

import json
import math
import os
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bc4all.data.audit import Due, audit, id_sum
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import OUTPUT, Journal
from bc4all.data.publishing import publishing, stage_together, staged_part
from bc4all.data.recovery import recover
from bc4all.errors import Failure, ModelError, TransientFailure
from bc4all.jobs.scoring import scored_schema
from bc4all.layout import Layout
from bc4all.model.ranking import SCORED_SCHEMA
from bc4all.state import State
from tests.conftest import DAY, published_rows, stage

SOUND_COLUMNS = ("product_id", "pred_label", "pred_score", "rank", "model_version")
SOUND = [(product, label, 0.5, rank, 1) for product in ("p", "q") for rank, label in enumerate(("a", "b"))]


class FullStorage(FileSystem):
    """A stand-in for a storage that fails in the moment of publishing, which no local folder does at will."""

    def rename(self, source: str, target: str) -> None:
        """Refuse to move what was staged; everything else goes the usual way."""
        if "/_staging/" in source and "/_staging/" not in target:
            raise TransientFailure("no space left", target)
        super().rename(source, target)


@pytest.mark.parametrize("failing", [False, True])
def test_a_failed_publication_leaves_the_old_partition(spark: SparkSession, prefix: Path, failing: bool) -> None:
    """Where the last rename fails, the partition that was live is live again; nothing is left in staging."""
    layout = Layout.at(str(prefix))
    replace_partition(spark, FileSystem(spark, layout.prefix), layout, "first", SOUND)
    if failing:
        with pytest.raises(TransientFailure, match="no space left"):
            replace_partition(spark, FullStorage(spark, layout.prefix), layout, "second", SOUND[:2])
    else:
        replace_partition(spark, FileSystem(spark, layout.prefix), layout, "second", SOUND[:2])
    assert len(published_rows(prefix, "x")) == (4 if failing else 2)
    assert not list((prefix / "_staging").glob("*"))


def replace_partition(
    spark: SparkSession,
    files: FileSystem,
    layout: Layout,
    run_id: str,
    rows: list[tuple[object, ...]],
    locks: str = "these tests",
) -> None:
    """Stage and publish client x's rows of DAY, as the predict job does."""
    with publishing(files, layout, Journal(run_id, "x", "predict", DAY, locks)) as publisher:
        stage(publisher, spark.createDataFrame(rows, SCORED_SCHEMA), OUTPUT)
        publisher.publish(OUTPUT, {"version": run_id})


class LostStorage(FileSystem):
    """A stand-in for a storage that moves nothing any more from the moment of publishing on."""

    lost = False

    def rename(self, source: str, target: str) -> None:
        """Fail from the first staged folder on."""
        self.lost = self.lost or ("/_staging/" in source and "/_staging/" not in target)
        if self.lost:
            raise TransientFailure("connection refused", target)
        super().rename(source, target)


@pytest.mark.parametrize("atomic", [True, False])
def test_what_cannot_be_put_back_is_kept_and_named(
    spark: SparkSession, prefix: Path, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where publishing and putting back both fail, the error says where the rows are; the next job puts it right."""
    monkeypatch.setattr(FileSystem, "renames_atomically", atomic)
    layout = Layout.at(str(prefix))
    state = State.from_environment(layout)
    files = FileSystem(spark, layout.prefix)
    replace_partition(spark, files, layout, "first", SOUND, state.id)
    with pytest.raises(TransientFailure, match="connection refused") as lost:
        replace_partition(spark, LostStorage(spark, layout.prefix), layout, "second", SOUND[:2], state.id)
    kept = prefix / "_trash" / "second" / "products_categories" / "client_id=x" / f"date={DAY}"
    assert f"is kept in file://{kept}" in str(lost.value)
    assert len(pd.read_parquet(kept)) == 4
    assert (kept / "_SUCCESS").exists()
    recover(files, layout, state, 3600, lambda run_id: None)
    assert len(published_rows(prefix, "x")) == 2
    assert not list((prefix / "_staging").iterdir())


def test_a_partition_that_was_not_whole_is_not_made_so(spark: SparkSession, prefix: Path) -> None:
    """Where a failed publication brings back a partition without _SUCCESS, it comes back without."""
    layout = Layout.at(str(prefix))
    files = ObjectStore(spark, layout.prefix)
    local = prefix / "products_categories" / "client_id=x" / f"date={DAY}"
    files.watched = str(local)
    replace_partition(spark, files, layout, "first", SOUND)
    (local / "_SUCCESS").unlink()
    files.renames_left = 4  # withdrawn, and one file of the new ones is there
    with pytest.raises(TransientFailure, match="connection reset"):
        replace_partition(spark, files, layout, "second", SOUND[:2])
    assert len(published_rows(prefix, "x")) == 4
    assert not (local / "_SUCCESS").exists()


def test_a_partition_gets_its_mark_from_the_publisher(spark: SparkSession, prefix: Path) -> None:
    """A committer that writes no _SUCCESS does not keep readers of an object store waiting for ever."""
    layout = Layout.at(str(prefix))
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    configuration.set("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
    try:
        replace_partition(spark, FileSystem(spark, layout.prefix), layout, "first", SOUND)
    finally:
        configuration.unset("mapreduce.fileoutputcommitter.marksuccessfuljobs")
    assert (prefix / "products_categories" / "client_id=x" / f"date={DAY}" / "_SUCCESS").exists()


class ObjectStore(FileSystem):
    """A stand-in for S3, which cannot run here: a folder file by file, and after each step a reader looks."""

    renames_atomically = False
    renames_left = 1000
    watched = ""

    def rename(self, source: str, target: str) -> None:
        """Move one file, until `renames_left` are done and one fails."""
        assert [entry.name for entry in self.listing(source)] == [source.rpartition("/")[2]], "a folder"
        if "/_staging/" in target:  # from what was staged together, which no reader looks at
            super().rename(source, target)
            return
        self.renames_left -= 1
        if self.renames_left < 0:
            self.renames_left = 1000
            raise TransientFailure("connection reset", target)
        super().rename(source, target)
        assert_whole_or_unfinished(Path(self.watched))


def assert_whole_or_unfinished(partition: Path) -> None:
    """What docs/cluster.md promises readers: with _SUCCESS, every file of the manifest is there in its size."""
    if (partition / "_SUCCESS").exists():
        manifest = json.loads((partition / "_manifest.json").read_text())
        for file in manifest["files"]:
            assert (partition / file["name"]).stat().st_size == file["bytes"]
        assert len(list(partition.glob("*.parquet"))) == len(manifest["files"])


@pytest.mark.parametrize("fails_at", [None, 0, 1, 2, 3, 4, 5, 6, 7])
def test_an_object_store_shows_whole_partitions_or_unfinished_ones(
    spark: SparkSession, prefix: Path, fails_at: int | None
) -> None:
    """Where renaming is file by file, _SUCCESS stands only beside a whole partition; a failure brings the old back."""
    layout = Layout.at(str(prefix))
    local = prefix / "products_categories" / "client_id=x" / f"date={DAY}"
    files = ObjectStore(spark, layout.prefix)
    files.watched = str(local)
    replace_partition(spark, files, layout, "first", SOUND)
    assert (local / "_SUCCESS").exists()
    if fails_at is None:
        replace_partition(spark, files, layout, "second", SOUND[:2])
        assert len(published_rows(prefix, "x")) == 2
    else:
        files.renames_left = fails_at
        with pytest.raises(TransientFailure, match="connection reset"):
            replace_partition(spark, files, layout, "second", SOUND[:2])
        assert (local / "_SUCCESS").exists(), sorted(p.name for p in local.iterdir())
        assert len(published_rows(prefix, "x")) == 4
    assert_whole_or_unfinished(local)


def ids_of(spark: SparkSession, *products: str) -> int:
    """Their `id_sum`."""
    frame = spark.createDataFrame([(product,) for product in products], "product_id string")
    return int(frame.agg(id_sum("product_id")).collect()[0][0])


def changed(place: int, column: int, value: object) -> list[tuple[object, ...]]:
    """The sound rows with one value replaced."""
    rows = [list(row) for row in SOUND]
    rows[place][column] = value
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("rows", "error", "complaint"),
    [
        (SOUND[:-1], TransientFailure, "has 3 rows where 2 x 2 were due"),
        ([*SOUND[:2], *SOUND[:2]], TransientFailure, "has 4 rows where 2 x 2 were due, each product once"),
        ([*SOUND, SOUND[0]], TransientFailure, "has 5 rows where 2 x 2 were due"),
        (changed(1, 3, 7), TransientFailure, "were due"),
        (changed(0, 0, None), ModelError, "holds a null"),
        (changed(0, 1, None), ModelError, "holds a null"),
        (changed(0, 2, math.nan), ModelError, "no number"),
        (changed(0, 1, "z"), ModelError, "1 labels that the model does not know"),
    ],
)
def test_the_audit_refuses_what_is_wrong(
    spark: SparkSession, tmp_path: Path, rows: list[tuple[object, ...]], error: type[Failure], complaint: str
) -> None:
    """Missing and doubled rows, nulls, scores that are no number and unknown labels are not published."""
    staged = str(tmp_path / "staged")
    due = Due(2, ids_of(spark, "p", "q"), ["a", "b"])
    both = [(*row, client) for client, own in ((4, rows), (9, SOUND)) for row in own]
    stage_together(spark.createDataFrame(both, scored_schema(False)), staged)
    found = audit(spark, staged, scored_schema(False), {4: due, 9: due}, 5)
    assert found[9] == (4, {"a": (2, 2)})
    assert isinstance(found[4], error)
    assert complaint in str(found[4])
    assert staged_part(staged, 4) in str(found[4])


def test_the_audit_misses_a_client_of_which_nothing_is_there(spark: SparkSession, tmp_path: Path) -> None:
    """A client whose rows were all lost fails, beside one whose rows are there."""
    staged, due = str(tmp_path / "staged"), Due(2, ids_of(spark, "p", "q"), ["a", "b"])
    stage_together(spark.createDataFrame([(*row, 9) for row in SOUND], scored_schema(False)), staged)
    found = audit(spark, staged, scored_schema(False), {4: due, 9: due}, 5)
    assert "0 rows where 2 x 2 were due" in str(found[4])


def test_the_audit_counts_what_is_right(spark: SparkSession, tmp_path: Path) -> None:
    """A sound output passes with its number of rows."""
    staged = str(tmp_path / "staged")
    due = Due(2, ids_of(spark, "p", "q"), ["a", "b"])
    stage_together(spark.createDataFrame([(*row, 4) for row in SOUND], scored_schema(False)), staged)
    assert audit(spark, staged, scored_schema(False), {4: due}, 5) == {4: (4, {"a": (2, 2)})}
    assert list(pd.read_parquet(staged_part(staged, 4), partitioning=None).columns) == list(SOUND_COLUMNS)


class Flaky(FileSystem):
    """A file system whose next rename works, and then says that it did not."""

    flaky = True

    def rename(self, source: str, target: str) -> None:
        """Move, and lose the answer."""
        super().rename(source, target)
        if self.flaky:
            self.flaky = False
            raise TransientFailure("the answer was lost", target)


def test_a_rename_whose_answer_is_lost_loses_nothing(spark: SparkSession, prefix: Path) -> None:
    """A partition that went out of the way all the same is back before the failure is told."""
    layout = Layout.at(str(prefix))
    replace_partition(spark, FileSystem(spark, layout.prefix), layout, "first", SOUND)
    with pytest.raises(TransientFailure, match="the answer was lost"):
        replace_partition(spark, Flaky(spark, layout.prefix), layout, "second", SOUND[:2])
    assert len(published_rows(prefix, "x")) == 4


def test_a_folder_is_never_copied_into_place(spark: SparkSession, tmp_path: Path) -> None:
    """Where a folder cannot be renamed, as to another disk, nothing of it comes to lie at its target."""
    elsewhere = Path("/dev/shm")  # noqa: S108 - another file system is what is needed
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "part").write_text("rows")
    target = elsewhere / f"bc4all-{tmp_path.name}-{os.getpid()}"
    with pytest.raises(Failure, match=r"another file system .*on one file system"):
        FileSystem(spark, tmp_path.as_uri()).rename((tmp_path / "staged").as_uri(), target.as_uri())
    assert not target.exists()
    assert (tmp_path / "staged" / "part").exists()
