"""A client that is forgotten: all of it goes, nothing of another, and no end in the middle makes a mix."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.cli.main import main
from bc4all.data.filesystem import FileSystem
from bc4all.errors import Failure, TransientFailure
from bc4all.identity import ClientId, Day
from bc4all.jobs.context import JobContext
from bc4all.jobs.forget import Departure
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.registry.artifact_store import RelativeArtifactRepository
from bc4all.registry.deletion import experiments_of
from bc4all.schedule.history import History
from bc4all.state import State
from tests.conftest import DAY, ROOT, make_client
from tests.faults.conftest import CONFIG, Published, partition, rows_of

GONE, OTHER = ClientId("client_0"), ClientId("client_1")
STEPS: dict[Any, tuple[str, ...]] = {
    FileSystem: ("write_text", "rename", "delete"),
    MlflowClient: ("delete_registered_model", "rename_experiment", "delete_experiment"),
    RelativeArtifactRepository: ("delete_artifacts",),
    Path: ("unlink",),
    shutil: ("rmtree",),
}


class Killed(BaseException):
    """The end of the process, as far as one process can play it."""


@pytest.fixture(scope="module")
def two_once(published_once: Published, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Two clients that are trained and published, the first of them twice, and have left what a client can leave."""
    published = published_once.copy(tmp_path_factory.mktemp("two clients") / "data")
    job = published.job(spark)
    predict(job, make_client(GONE))
    for kind in ("train", "prediction"):
        shutil.copytree(published.prefix / kind / f"client_id={GONE}", published.prefix / kind / f"client_id={OTHER}")
    train(job, make_client(OTHER))
    predict(job, make_client(OTHER))
    state = State.from_environment(published.layout)
    history = History(state.history)
    for client_id in (GONE, OTHER):
        history.add(client_id, "predict", Day(DAY), "2026-01-31T00:00:00+00:00", "schedule", "done")
        history.pause(client_id, "train", "2026-01-31")
        state.run_log(client_id, "predict-1").write_text("a log")
        renamed = config_of(published).parent / "category_map" / f"{client_id}.csv"
        renamed.parent.mkdir(exist_ok=True, parents=True)
        renamed.write_text("old,new\na,b\n")
    history.close()
    tuned = config_of(published).parent / "tuned" / f"{GONE}.yaml"
    tuned.parent.mkdir()
    tuned.write_text("")
    return published


@pytest.fixture
def two(two_once: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Those of the test's own."""
    return two_once.own_copy(tmp_path / "data", monkeypatch)


def config_of(on: Published) -> Path:
    """The configuration of a prefix of its own, with files beside it."""
    return on.prefix / "conf" / "clients.yaml"


def departure(job: JobContext, on: Published) -> Departure:
    """What there is of the client that goes."""
    return Departure(GONE, job.files, job.layout, job.state, job.registry.tracking, config_of(on))


def forget(job: JobContext, on: Published) -> None:
    """What `bc4all forget --confirm` does, but for the history."""
    leaving = departure(job, on)
    with leaving.begun(3600, deliveries=False):
        for one in leaving.belongings(deliveries=leaving.takes_deliveries):
            one.remove()


def traces(on: Published, client_id: str) -> list[str]:
    """Each path that names a client, but for its deliveries and its locks, which are empty; and what MLflow knows."""
    paths = [str(path.relative_to(on.prefix)) for path in on.prefix.rglob(f"*{client_id}*")]
    staged = [str(path) for path in on.prefix.glob("_trash/*/_run.json") if f'"{client_id}"' in path.read_text()]
    mlflow = MlflowClient(f"sqlite:///{on.prefix}/mlflow.db")
    known = [
        str(one.name) for found in (mlflow.search_experiments(), mlflow.search_registered_models()) for one in found
    ]
    kept = ("train/", "prediction/", "_state/locks/")
    return [path for path in paths if not path.startswith(kept)] + staged + [one for one in known if client_id in one]


def test_all_of_it_goes_and_nothing_of_another(two: Published, spark: SparkSession) -> None:
    """What is shown is what is there; a client of the same name begins with version 1."""
    job, before = two.job(spark), traces(two, OTHER)
    rows = rows_of(partition(two.prefix, OTHER))
    shown = {one.name: one.amount for one in departure(job, two).belongings(deliveries=False)}
    assert shown["registered model"] == "client_0_model, 1 version"
    assert (shown["published"], shown["refused by predict"], shown["refused by train"]) == ("1 date", "1 date", "")
    assert (shown["left by runs"], shown["MLflow"]) == (
        "1 folder",
        "2 experiments, with runs, figures and models",
    )
    assert len(traces(two, GONE)) > 8
    forget(job, two)
    assert traces(two, GONE) == []
    assert traces(two, OTHER) == before
    assert rows_of(partition(two.prefix, OTHER)).equals(rows)  # type: ignore[union-attr]
    assert (two.prefix / "train" / f"client_id={GONE}").is_dir()
    again = two.job(spark)
    assert train(again, make_client(GONE)).version == 1
    assert predict(again, make_client(GONE)).error is None
    assert predict(again, make_client(OTHER)).error is None


def test_what_was_delivered_goes_where_it_is_asked_for(two: Published, spark: SparkSession) -> None:
    """Of the one client."""
    job = two.job(spark)
    leaving = departure(job, two)
    with leaving.begun(3600, deliveries=True):
        for one in leaving.belongings(deliveries=leaving.takes_deliveries):
            one.remove()
    for kind in ("train", "prediction"):
        assert [folder.name for folder in (two.prefix / kind).iterdir()] == [f"client_id={OTHER}"]


def test_ended_anywhere_it_mixes_nothing(two: Published, spark: SparkSession, tmp_path: Path) -> None:
    """Once it has begun, no job of the client does until the same command has ended it."""
    steps: list[str] = []

    def stepping(name: str, method: Callable[..., Any], at: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            steps.append(name)
            if len(steps) >= at:
                raise Killed
            return method(*arguments, **options)

        return call

    def forget_until(on: Published, at: int) -> bool:
        """Forget, and be killed at a step; return whether it came to its end before."""
        steps.clear()
        with pytest.MonkeyPatch.context() as patch:
            for owner, names in STEPS.items():
                for name in names:
                    patch.setattr(owner, name, stepping(name, getattr(owner, name), at))
            try:
                forget(on.job(spark), on)
            except Killed:
                return False
        return True

    before, others = len(traces(two, GONE)), traces(two, OTHER)
    for at in range(1, 100):
        on = two.copy(tmp_path / f"killed at {at}")
        job = on.job(spark)
        with job.attempt(make_client(GONE), "predict"):  # by an application that has begun with it before
            pass
        if forget_until(on, at):
            break
        if (on.prefix / "_forgetting" / GONE).exists():
            for work in (train, predict):
                with pytest.raises(Failure, match="bc4all forget --client-id client_0 --confirm ends it"):
                    work(job, make_client(GONE))
        else:
            assert len(traces(on, GONE)) == before or traces(on, GONE) == [], steps
        forget(on.job(spark), on)
        assert traces(on, GONE) == [], steps
        assert traces(on, OTHER) == others
        shutil.rmtree(on.prefix)
    assert at > 10


def test_a_job_at_work_is_not_cut_off(two: Published, spark: SparkSession) -> None:
    """Neither here, where its lock tells, nor on another machine, where its journal does."""
    job = two.job(spark)
    with job.state.exclusive(GONE, "predict"), pytest.raises(TransientFailure, match="another predict"):
        forget(job, two)
    elsewhere = two.prefix / "_staging" / "run" / "_run.json"
    elsewhere.parent.mkdir(parents=True)
    told = f'"client_id": "{GONE}", "job": "predict", "day": "{DAY}", "locks": "another/machine/boot"'
    elsewhere.write_text(f'{{"run_id": "run", {told}}}')
    with pytest.raises(TransientFailure, match="on another machine"):
        forget(job, two)
    assert len(experiments_of(job.registry.tracking, GONE)) == 2


def test_the_command_says_what_goes_and_removes_it(two: Published) -> None:
    """As a person runs it: shown at first; while the history has a job of it running, refused; then gone."""
    config = config_of(two)
    config.write_text(f"{CONFIG}  {OTHER}:\n")
    command = [sys.executable, "-m", "bc4all.cli.main", "forget", "--client-id", GONE, "--config", str(config)]

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "SPARK_CONF_DIR"}
        return subprocess.run(
            [*command, *flags], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    state = State.from_environment(two.layout)
    history = History(state.history)
    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"registered model +client_0_model, 1 version\n", shown.stdout)
    assert re.search(r"delivered to train +1 file \(stays", shown.stdout)
    assert shown.stdout.strip().endswith("bc4all forget --client-id client_0 --confirm")
    before = len(traces(two, GONE))
    at_work = history.add(GONE, "predict", Day(DAY), "2026-02-01T00:00:00+00:00", "schedule", "running")
    assert at_work
    refused = run("--confirm")
    assert (refused.returncode, len(traces(two, GONE))) == (75, before), refused.stdout
    assert "a job of this client is running" in refused.stdout + refused.stderr
    history.update([at_work.id], state="done")
    gone = run("--confirm")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert gone.stdout.strip().endswith("client_0 is forgotten.")
    assert traces(two, GONE) == []
    assert {run.client for run in history.runs()} == {OTHER}
    assert {client for client, _ in history.pauses()} == {OTHER}
    history.close()


def test_a_client_of_the_configuration_is_refused(
    two: Published, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next job would begin anew."""
    monkeypatch.setattr("sys.argv", ["bc4all"])
    with pytest.raises(SystemExit) as ended:
        main(["forget", "--client-id", GONE, "--confirm", "--config", str(two.config)])
    assert ended.value.code == 2
    assert "client_0 is a client of the configuration" in capsys.readouterr().err
    assert len(traces(two, GONE)) > 8
