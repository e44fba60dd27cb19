"""What the next job makes of what dead ones left: on an object store, of other machines, half-written, and of trash."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import JOURNAL, OUTPUT, QUARANTINE, Journal
from bc4all.data.publishing import Publisher
from bc4all.data.recovery import recover
from bc4all.errors import TransientFailure
from bc4all.layout import Layout
from bc4all.model.ranking import SCORED_SCHEMA
from bc4all.state import State
from tests.conftest import DAY, published_rows, stage
from tests.faults.conftest import partition
from tests.spark.test_publishing import SOUND, ObjectStore

HOUR = 3600.0


class Dead(BaseException):
    """Ends the code under test as SIGKILL would: nothing that it does to tidy up reaches the storage any more."""


class MortalStore(ObjectStore):
    """An object store whose user dies before its `steps_left`-th change, and changes nothing after."""

    steps_left = 1000

    def _live(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Dead

    def rename(self, source: str, target: str) -> None:
        """Copy one file, if alive, and delete it, if alive still."""
        self._live()
        if not self.steps_left:
            shutil.copy(source.removeprefix("file://"), _made(target))
        self._live()
        super().rename(source, target)

    def delete(self, uri: str) -> None:
        """Remove, if alive."""
        self._live()
        super().delete(uri)

    def write_text(self, uri: str, text: str) -> None:
        """Write, if alive."""
        self._live()
        super().write_text(uri, text)


def _made(uri: str) -> Path:
    path = Path(uri.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def layout(prefix: Path) -> Layout:
    """Of the test's prefix."""
    return Layout.at(str(prefix))


@pytest.fixture
def state(layout: Layout) -> State:
    """Of the test's prefix."""
    return State.from_environment(layout)


def put_right(files: FileSystem, layout: Layout, state: State, keep: float = HOUR) -> list[str]:
    """Recover, and return the runs that were found dead."""
    closed: list[str] = []
    recover(files, layout, state, keep, closed.append)
    return closed


@dataclass(frozen=True)
class Written:
    """Rows that Spark has written to a folder; writing them again copies its files.

    It stands in for a DataFrame where the same rows are written again and again, which Spark would take minutes for.
    """

    folder: Path

    @classmethod
    def once(cls, rows: DataFrame, folder: Path) -> "Written":
        """Let Spark write some rows."""
        rows.write.parquet(folder.as_uri())
        return cls(folder)

    @property
    def write(self) -> "Written":
        """As a DataFrame's."""
        return self

    def parquet(self, folder: str) -> None:
        """Be in that folder, too, every file of it."""
        shutil.copytree(self.folder, folder.removeprefix("file://"))


def publish(files: FileSystem, layout: Layout, journal: Journal, rows: DataFrame | Written) -> None:
    """All that a predict does to the storage, but for the end."""
    publisher = Publisher(files, layout, journal)
    publisher.begin()
    stage(publisher, rows, OUTPUT)
    publisher.publish(OUTPUT, {"version": journal.run_id})


def test_an_object_stores_publication_killed_anywhere(
    spark: SparkSession, prefix: Path, layout: Layout, state: State
) -> None:
    """Killed at any change, and its recovery killed at any change, too: in the end one of both is there, whole."""
    local = partition(prefix, "x")
    old, new = (
        Written.once(spark.createDataFrame(rows, SCORED_SCHEMA), prefix.with_name(name))
        for name, rows in (("old", SOUND), ("new", SOUND[:2]))
    )
    ends = set()
    for first_kill in range(28):
        for second_kill in range(first_kill % 9, 24, 9):  # each pair would take minutes
            run_id = f"new-{first_kill}-{second_kill}"
            files = store(spark, MortalStore, layout, local)
            files.delete(layout.prefix + "/products_categories")
            publish(files, layout, Journal("old", "x", "predict", DAY, state.id), old)
            files.delete(layout.staging("old"))
            files.steps_left = first_kill
            try:
                publish(files, layout, Journal(run_id, "x", "predict", DAY, state.id), new)
            except Dead:
                ends.add("killed")
            files.steps_left = second_kill
            try:
                put_right(files, layout, state)
            except Dead:
                ends.add("killed again")
            put_right(store(spark, ObjectStore, layout, local), layout, state, keep=-1.0)
            assert (local / "_SUCCESS").exists(), (first_kill, second_kill)
            assert len(published_rows(prefix, "x")) in (2, 4), (first_kill, second_kill)
            assert not list((prefix / "_staging").iterdir()), (first_kill, second_kill)
            ends.add(str(len(published_rows(prefix, "x"))))
    assert ends == {"killed", "killed again", "2", "4"}
    put_right(store(spark, ObjectStore, layout, local), layout, state, keep=-1.0)
    assert not list((prefix / "_trash").iterdir())


def store(spark: SparkSession, kind: type[ObjectStore], layout: Layout, watched: Path) -> ObjectStore:
    """A stand-in for an object store, with a reader that looks at a partition after each move."""
    files = kind(spark, layout.prefix)
    files.watched = str(watched)
    return files


@pytest.fixture
def leave(spark: SparkSession, layout: Layout) -> Callable[..., Path]:
    """Leave what a predict left that was killed before it published anything."""

    def left(run_id: str, locks: str) -> Path:
        files = FileSystem(spark, layout.prefix)
        publisher = Publisher(files, layout, Journal(run_id, "x", "predict", DAY, locks))
        publisher.begin()
        stage(publisher, spark.createDataFrame(SOUND, SCORED_SCHEMA), OUTPUT)
        return Path(layout.staging(run_id).removeprefix("file://"))

    return left


def age(folder: Path, seconds: float) -> None:
    """Let a folder's journal, and the folder, be that old."""
    then = time.time() - seconds
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


def test_a_run_that_lives_is_left_alone(
    spark: SparkSession, layout: Layout, state: State, leave: Callable[..., Path]
) -> None:
    """While its client's lock is held, nothing of a run is touched, however old it is."""
    folder = leave("alive", state.id)
    age(folder, 100 * HOUR)
    files = FileSystem(spark, layout.prefix)
    with state.exclusive("x", "predict"):
        assert put_right(files, layout, state) == []
        assert (folder / OUTPUT).exists()
    assert put_right(files, layout, state) == ["alive"]
    assert not folder.exists()


def test_a_run_of_another_machine_is_left_alone_for_a_day(
    spark: SparkSession, layout: Layout, state: State, leave: Callable[..., Path]
) -> None:
    """No lock of this machine speaks for it: it counts as dead after a day."""
    name, boot, _ = state.id.split("/")
    assert state.speaks_for(f"{name}/{boot}/a container of this machine")
    assert state.speaks_for(f"{name}/before the last start/{platform.node()}")
    folder = leave("foreign", f"{name}/another start/another machine")
    files = FileSystem(spark, layout.prefix)
    assert put_right(files, layout, state) == []
    age(folder, 23 * HOUR)
    assert put_right(files, layout, state) == []
    age(folder, 25 * HOUR)
    assert put_right(files, layout, state) == ["foreign"]
    assert not folder.exists()


@pytest.mark.parametrize("journal", [None, "", '{"run_id": "half', '{"run_id": "../x"}', "[]"])
def test_a_journal_that_was_being_written(
    spark: SparkSession, prefix: Path, layout: Layout, state: State, journal: str | None
) -> None:
    """A folder without a readable journal may be one that is just begun: it goes after ten minutes."""
    folder = prefix / "_staging" / "begun"
    folder.mkdir(parents=True)
    if journal is not None:
        (folder / JOURNAL).write_text(journal)
    files = FileSystem(spark, layout.prefix)
    put_right(files, layout, state)
    assert folder.exists()
    age(folder, 700)
    assert put_right(files, layout, state) == []
    assert not folder.exists()


def test_a_journal_cannot_lead_elsewhere(spark: SparkSession, prefix: Path, layout: Layout, state: State) -> None:
    """A forged journal that names another run, client or date than may be is none: its folder goes as unknown ones."""
    for number, forged in enumerate(
        [
            Journal("other", "x", "predict", DAY, state.id),
            Journal("forged1", "../../etc", "predict", DAY, state.id),
            Journal("forged2", "x", "predict", "2026-01-31/..", state.id),
            Journal("forged3", "x", "rm -rf", DAY, state.id),
        ]
    ):
        folder = prefix / "_staging" / f"forged{number}"
        folder.mkdir(parents=True)
        (folder / JOURNAL).write_text(forged.dumps())
    files = FileSystem(spark, layout.prefix)
    assert put_right(files, layout, state) == []
    folders = list((prefix / "_staging").iterdir())
    assert len(folders) == 4
    for folder in folders:
        age(folder, 700)
    assert put_right(files, layout, state) == []
    assert not list((prefix / "_staging").iterdir())


def test_what_was_replaced_is_kept_for_a_while(spark: SparkSession, prefix: Path, layout: Layout, state: State) -> None:
    """A reader that has the old partition open can finish; after `keep_replaced` it is deleted."""
    files = FileSystem(spark, layout.prefix)
    for run_id, rows in (("first", SOUND), ("second", SOUND[:2])):
        frame = spark.createDataFrame(rows, SCORED_SCHEMA)
        publish(files, layout, Journal(run_id, "x", "predict", DAY, state.id), frame)
        files.delete(layout.staging(run_id))
    kept = prefix / "_trash" / "second"
    put_right(files, layout, state)
    assert len(pd.read_parquet(kept / "products_categories" / "client_id=x" / f"date={DAY}")) == 4
    age(kept, 2 * HOUR)
    put_right(files, layout, state)
    assert not kept.exists()
    assert len(published_rows(prefix, "x")) == 2


def test_a_quarantine_that_was_taken_away_does_not_come_back(
    spark: SparkSession, prefix: Path, layout: Layout, state: State
) -> None:
    """A run that refused nothing takes its date's old quarantine away; killed after that, it stays away."""
    files = FileSystem(spark, layout.prefix)
    old = Publisher(files, layout, Journal("old", "x", "predict", DAY, state.id))
    stage(old, spark.createDataFrame([("p", "bad")], "product_id string, reason string"), QUARANTINE)
    old.publish(QUARANTINE, {})
    old.end()
    killed = Publisher(files, layout, Journal("killed", "x", "predict", DAY, state.id))
    killed.begin()
    killed.remove(QUARANTINE)
    assert put_right(files, layout, state) == ["killed"]
    assert not partition(prefix, "x", "quarantine/prediction").exists()


def test_what_cannot_be_put_right_is_left_for_the_next(
    spark: SparkSession, layout: Layout, state: State, leave: Callable[..., Path]
) -> None:
    """Where MLflow does not answer, the run stays known, and the job that found it goes on."""
    folder = leave("dead", state.id)

    def fails(run_id: str) -> None:
        raise TransientFailure("MLflow: it cannot be reached")

    files = FileSystem(spark, layout.prefix)
    recover(files, layout, state, HOUR, fails)
    assert folder.exists()
    assert put_right(files, layout, state) == ["dead"]
    assert not folder.exists()


def test_a_lock_that_is_not_ours_holds_nobody_up(
    layout: Layout, state: State, leave: Callable[..., Path], spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another user's run left, whose lock cannot be opened, is left as it is; the others are put right."""
    theirs, ours = leave("theirs", state.id), leave("ours", state.id)
    unless_busy, opened = State.unless_busy, iter([PermissionError("locks/x.predict")])

    def refused(self: State, client_id: str, job: str) -> object:  # root, as which CI may run, is refused nothing
        for error in opened:
            raise error
        return unless_busy(self, client_id, job)

    monkeypatch.setattr(State, "unless_busy", refused)
    assert put_right(FileSystem(spark, layout.prefix), layout, state) == ["theirs"]
    assert ours.exists()
    assert not theirs.exists()
