"""A disk that is full while a partition is staged: exit code 75, one line, nothing lost."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bc4all.identity import ClientId, Day
from bc4all.jobs.application import run_application
from bc4all.jobs.fleet import alone, run_waves
from bc4all.jobs.predict_job import predict
from bc4all.request import JobRequest
from bc4all.starter import tell_result
from bc4all.variables import RESULTS
from tests.conftest import DAY, make_client, run_fleet
from tests.faults.conftest import Published, partition, rows_of


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 48 KiB at `folder`: enough for a journal, too little for a client's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() or not mount or not umount:
        pytest.skip("only root can mount a small file system to fill")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this system mounts no tmpfs here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)  # Spark keeps the file open that it failed to write


def test_a_disk_that_is_full_while_staging(published: Published, spark: SparkSession) -> None:
    """The old partition stays; what was staged goes; with room again the same job works."""
    before, job, client = rows_of(partition(published.prefix)), published.job(spark), make_client("client_0")
    with small_disk(published.prefix / "_staging"):
        (outcome,) = run_fleet(spark, "predict", [client], partial(predict, job), 1)
        assert outcome.exit_code == 75
        assert "a disk is full: No space left on device (" in str(outcome.error)
        assert "/_staging/" in str(outcome.error)
        assert "make room, then run it again: nothing was published" in str(outcome.error)
        assert not list((published.prefix / "_staging").iterdir())
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]
    shutil.rmtree(published.prefix / "_staging")
    assert run_fleet(spark, "predict", [client], partial(predict, job), 1)[0].error is None
    assert len(rows_of(partition(published.prefix))) == 900 * 5  # type: ignore[arg-type]


@pytest.mark.usefixtures("own_log", "lent_session")
def test_a_prefix_that_cannot_be_written(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside every client's work, too, it is one line and 75, without a traceback."""

    def read_only(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(published.prefix))

    monkeypatch.setattr("bc4all.jobs.application.recover", read_only)
    asked = JobRequest("predict", (ClientId("client_0"),), False, Day(DAY), published.config, max_parallel=1)
    assert run_application(asked) == 75
    lines = [line for line in capsys.readouterr().err.splitlines() if " INFO " not in line and "WARNING" not in line]
    assert len(lines) == 1
    assert f"Permission denied: '{published.prefix}'" in lines[0]


def test_a_starter_that_cannot_be_told(
    published: Published, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What becomes of one client cannot be written down: the others go on, and all are done."""
    monkeypatch.setenv(RESULTS, "/dev/full")
    work = alone(partial(predict, published.job(spark)))
    waves = [[make_client("client_0")], [make_client("stranger")]]
    outcomes = run_waves(
        spark, "predict", waves, work, 1, tell=lambda outcome: tell_result({"client_id": outcome.client_id})
    )
    assert [outcome.exit_code for outcome in outcomes] == [0, 1]
    assert "the starter cannot be told: [Errno 28] No space left on device" in caplog.text


def test_a_run_without_a_journal_is_ended(published: Published, spark: SparkSession) -> None:
    """Where the journal cannot be written, the run in MLflow does not stay RUNNING: nothing would ever lead to it."""
    job, client = published.job(spark), make_client("client_0")
    shutil.rmtree(published.prefix / "_staging", ignore_errors=True)
    (published.prefix / "_staging").write_text("a file")
    (outcome,) = run_fleet(spark, "predict", [client], partial(predict, job), 1)
    assert outcome.exit_code == 75
    (experiment,) = (
        one.experiment_id for one in job.registry.tracking.experiments([client.id]) if "Prediction" in one.name
    )
    assert {run.info.status for run in job.registry.tracking.client.search_runs([experiment])} == {"FINISHED", "FAILED"}
