"""A DATA_PREFIX that is copied or moved is usable, and nothing outside the own prefix is ever written or deleted."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from bc4all.cli.main import main
from bc4all.config.clients import Client, PromotionSettings
from bc4all.data.sample_data import write_sample_data
from bc4all.job_kinds import TRAIN
from bc4all.jobs.application import run_application
from bc4all.jobs.context import JobContext
from bc4all.jobs.doctor import _mlflow
from bc4all.jobs.fleet import Outcome
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.layout import Layout
from bc4all.registry.relocation import ADDRESSES
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from bc4all.request import JobRequest
from bc4all.schedule.dispatch import Dispatcher
from bc4all.schedule.history import History
from bc4all.state import State
from tests.conftest import DAY, make_client, published_rows, run_fleet

IDS = [f"client_{number}" for number in range(10)]
SOME = IDS[3:5]  # whose jobs run in a copy: each client's are like every other's


def clients(ids: list[str], **settings: object) -> list[Client]:
    """Clients with forests of two trees, whose every version becomes champion."""
    few = {"n_estimators": 2, "random_state": 7}
    always = PromotionSettings(mode="disabled")
    return [make_client(one, model_params=few, promotion=always, **settings) for one in ids]


def opened(prefix: Path) -> Tracking:
    """MLflow's store as a job below a prefix opens it."""
    layout = Layout.at(str(prefix))
    return Tracking(tracking_uri(layout), layout)


@dataclass(frozen=True)
class Fleet:
    """The jobs below one prefix."""

    prefix: Path
    spark: SparkSession

    def run(self, job: str, ids: list[str] = SOME, **settings: object) -> list[Outcome]:
        """Do a job for some clients, and see it done."""
        layout = Layout.at(str(self.prefix))
        registry = Registry(Tracking(tracking_uri(layout), layout))
        registry.tracking.check_owner(IDS)
        jobs = JobContext(self.spark, layout, registry, DAY, State.from_environment(layout))
        work = partial({"train": train, "predict": predict}[job], jobs)
        outcomes = run_fleet(self.spark, job, clients(ids, **settings), work, 4)
        assert [outcome.error for outcome in outcomes] == [None] * len(ids)
        return outcomes


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, and the digest of its bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def trained_once(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten trained and published clients, which no test may change."""
    folder = tmp_path_factory.mktemp("ten clients") / "data"
    list(write_sample_data(folder, clients=10, rows=120, seed=1, categories=6))
    shutil.copy(empty_mlflow, folder)
    fleet = Fleet(folder, spark)
    fleet.run("train", IDS)
    fleet.run("predict", SOME)
    return folder


@pytest.fixture
def original(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten trained clients of the test's own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copytree(trained_once, tmp_path / "original"))


@pytest.fixture
def of_before(original: Path) -> Path:
    """The same with the absolute addresses that a release before gave."""
    with sqlite3.connect(original / "mlflow.db") as database:
        for table, column in ADDRESSES:
            change = f"UPDATE {table} SET {column} = replace({column}, 'bc4all:/', ?)"  # noqa: S608 - constants
            database.execute(change, [f"file://{original}/"])
        left = database.execute("SELECT count(*) FROM runs WHERE artifact_uri LIKE 'bc4all:%'").fetchone()
    assert left == (0,)
    return original


@pytest.fixture
def watched(original: Path) -> Iterator[Path]:
    """The original, which is equal byte for byte at the end."""
    before = digests(original)
    assert len(before) > 100
    yield original
    assert digests(original) == before


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_a_copied_or_moved_prefix_is_used_as_it_is(
    original: Path, tmp_path: Path, spark: SparkSession, way: str
) -> None:
    """Training, scoring and pruning below the new prefix work; the original stays equal byte for byte."""
    before, there = digests(original), tmp_path / "there it is"
    shutil.copytree(original, there) if way == "copied" else original.rename(there)
    published = published_rows(there, "client_3")
    fleet = Fleet(there, spark)
    assert {outcome.version for outcome in fleet.run("predict")} == {1}
    assert published_rows(there, "client_3").equals(published)
    first = set(there.glob("mlartifacts/*/models/*/artifacts/MLmodel"))
    for number in (2, 3):  # with the third, the first is neither champion nor the one before
        assert {outcome.version for outcome in fleet.run("train", keep_versions=1)} == {number}
    mine = {file for file in first if file.parents[3].name.endswith(tuple(SOME))}
    left = set(there.glob("mlartifacts/*/models/*/artifacts/MLmodel"))
    assert (len(first), len(left), first & left) == (10, 12, first - mine)
    assert {outcome.version for outcome in fleet.run("predict")} == {3}
    assert digests(original) == (before if way == "copied" else {})


def run_in(prefix: Path, monkeypatch: pytest.MonkeyPatch, config: Path, job: str = "train") -> int:
    """Start a job as bin/submit.sh would, and return its exit code."""
    monkeypatch.setenv("DATA_PREFIX", str(prefix))
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients: {client_0: , client_1: }\n")
    return run_application(JobRequest(job, (), True, DAY, config, max_parallel=1))


@pytest.mark.usefixtures("own_log", "lent_session")
@pytest.mark.parametrize("job", ["train", "predict", "tune"])
def test_a_copied_store_with_absolute_addresses_is_refused(
    of_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job: str
) -> None:
    """A job of the copy names both places and the command that mends it, before it does anything; exit code 2."""
    copy = Path(shutil.copytree(of_before, tmp_path / "copy"))
    before = digests(of_before)
    monkeypatch.setattr("bc4all.jobs.application.recover", lambda *_: pytest.fail("the job began"))
    assert run_in(copy, monkeypatch, tmp_path / "clients.yaml", job) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"belong to another DATA_PREFIX, file://{of_before} (this one is file://{copy}," in line
    assert line.endswith("if the data was moved or copied here: bc4all relocate)")
    assert digests(of_before) == before


def test_relocate_mends_a_copied_store(
    of_before: Path, tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the refusal names makes the copy usable, once and for all; doctor tells the same."""
    copy = Path(shutil.copytree(of_before, tmp_path / "copy"))
    before = digests(of_before)
    monkeypatch.setenv("DATA_PREFIX", str(copy))
    with pytest.raises(ValueError, match="bc4all relocate"):
        _mlflow(Layout.at(str(copy)), clients(IDS))
    refused = CliRunner().invoke(main, ["rollback", "--client-id", "client_0"])
    assert (refused.exit_code, "bc4all relocate" in refused.output) == (2, True)
    done = CliRunner().invoke(main, ["relocate"])
    assert done.exit_code == 0, done.output
    assert f"addresses below file://{of_before}/mlartifacts/ now lead to file://{copy}/mlartifacts/" in done.output
    assert "already" in CliRunner().invoke(main, ["relocate"]).output
    assert "answered" in _mlflow(Layout.at(str(copy)), clients(IDS))
    fleet = Fleet(copy, spark)
    for _ in range(2):
        fleet.run("train", keep_versions=1)
    fleet.run("predict")
    assert digests(of_before) == before
    again = copy.rename(tmp_path / "once more")
    Fleet(again, spark).run("predict")


def test_a_store_of_before_goes_on_where_it_lies(of_before: Path, spark: SparkSession) -> None:
    """Without a move, absolute addresses are as good as ever."""
    Fleet(of_before, spark).run("train", keep_versions=1)
    Fleet(of_before, spark).run("predict")


def test_relocate_wants_the_artifacts_first(of_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was copied alone is left as it is."""
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(of_before / "mlflow.db", copy)
    before = digests(copy)
    monkeypatch.setenv("DATA_PREFIX", str(copy))
    done = CliRunner().invoke(main, ["relocate"])
    assert (done.exit_code, f"move or copy it here from file://{of_before}/mlartifacts" in done.output) == (2, True)
    assert digests(copy) == before


@pytest.mark.usefixtures("own_log", "lent_session")
def test_two_prefixes_on_one_store(
    watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy whose MLflow is the original's is refused, and not relocated while the original is there."""
    copy = Path(shutil.copytree(watched, tmp_path / "copy"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{watched}/mlflow.db")
    assert run_in(copy, monkeypatch, tmp_path / "clients.yaml") == 2
    assert "a copy needs an MLFLOW_TRACKING_URI of its own" in capsys.readouterr().err
    done = CliRunner().invoke(main, ["relocate"])
    assert (done.exit_code, f"{watched}/mlartifacts is still there" in done.output) == (2, True)


def test_a_store_elsewhere_knows_whose_it_is(
    empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database outside any prefix: the first prefix has it; one that moves takes it along by `relocate`."""
    shutil.copy(empty_mlflow, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    first, second = tmp_path / "first", tmp_path / "second"
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.txt").write_text("a")
    run = opened(first).start_run(make_client("x"), TRAIN, DAY, {})
    run.log_files(tmp_path / "figures")
    first.rename(second)
    moved = opened(second)
    with pytest.raises(ValueError, match=r"file:.*/first .*if the data was moved here: bc4all relocate"):
        moved.check_owner(["x"])
    with pytest.raises(ValueError, match="belong to another DATA_PREFIX"):
        moved.start_run(make_client("x"), TRAIN, DAY, {})
    monkeypatch.setenv("DATA_PREFIX", str(second))
    done = CliRunner().invoke(main, ["relocate"])
    assert done.exit_code == 0, done.output
    moved.check_owner(["x"])
    assert second.as_uri() in str(moved.client.get_run(run.id).info.artifact_uri)


def test_a_copied_history_forgets_its_own_logs_alone(tmp_path: Path) -> None:
    """The history of a copy holds the original's paths; what it forgets is deleted below the copy."""
    original = State(tmp_path / "original" / "_state")
    history, log = History(original.history), original.run_log("x", "train-1")
    run = history.add("x", "train", DAY, "2020-01-01T00:00:00+00:00", "manual")
    assert run
    history.update([run.id], state="done", ended="2020-01-01T00:01:00+00:00", log=str(log))
    history.close()
    log.write_text("what the job said")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    copy = State(tmp_path / "copy" / "_state")
    copied = History(copy.history)
    Dispatcher(copy, copied, None, None, None, None).forget(2e9)  # type: ignore[arg-type]
    copied.close()
    assert log.read_text() == "what the job said"
    assert not os.path.exists(copy.run_log("x", "train-1"))
