"""What grows is let go after its time, once a day, and nothing that is still of use."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bc4all.config.settings import KeepSettings
from bc4all.data.drift import PSI_MAX
from bc4all.data.filesystem import FileSystem
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT
from bc4all.jobs.clean_up import clean_up
from bc4all.jobs.context import JobContext
from bc4all.registry.ownership import Store
from bc4all.state import State
from tests.conftest import make_client

DAY_S = 86400.0
KEEP = KeepSettings(quarantine=10 * 86400, event_logs=10 * 86400, prediction_runs=10 * 86400)
X, Y = ClientId("x"), ClientId("y")


def clean(job: JobContext, drift_dates: int = 0) -> None:
    """Clean up as an application of two clients does at its end."""
    tracking = job.registry.tracking
    clean_up(job.files, job.layout, job.state, tracking, KEEP, {X: drift_dates, Y: drift_dates})


def aged(file: Path, days: float) -> Path:
    """Write a file that last changed some days ago."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    for path in (file, file.parent):
        os.utime(path, (time.time() - days * DAY_S,) * 2)
    return file


def test_old_refused_rows_go_but_not_a_clients_last(job: JobContext, prefix: Path) -> None:
    """By when they were written: a past date that was filled in yesterday stays."""

    def part(kind: str, client_id: str, day: str, days: float) -> Path:
        folder = prefix / "quarantine" / kind / f"client_id={client_id}" / f"date={day}"
        return aged(folder / "a.parquet", days)

    old = [part("prediction", "x", "2026-01-01", 30), part("train", "x", "2026-01-01", 11)]
    kept = [
        part("prediction", "x", "2020-01-01", 1),
        part("prediction", "x", "2026-01-03", 9),
        part("train", "x", "2026-02-01", 20),  # the last one
        part("prediction", "y", "2026-01-01", 99),
    ]
    clean(job)
    assert [file.exists() for file in old] == [False, False]
    assert all(file.exists() for file in kept)


def test_refused_rows_of_a_client_at_work_wait(job: JobContext, prefix: Path) -> None:
    """Its job may be about to replace that very date."""
    folder = prefix / "quarantine" / "prediction" / "client_id=x"
    old = aged(folder / "date=2026-01-01" / "a.parquet", 30)
    aged(folder / "date=2026-01-02" / "a.parquet", 30)
    with job.state.exclusive(X, "predict"):
        clean(job)
    assert old.exists()


def test_old_event_logs_go(job: JobContext, prefix: Path) -> None:
    """One that is still written to stays: a folder of several files is as old as the newest."""
    events = prefix / "_events"
    old = [aged(events / "local-1", 11), aged(events / "eventlog_v2_1" / "events_1", 11).parent]
    young = [aged(events / "local-2", 9), aged(events / "eventlog_v2_2" / "events_1", 30), events / "eventlog_v2_2"]
    aged(events / "eventlog_v2_2" / "events_2", 1)
    os.utime(events / "eventlog_v2_2", (time.time() - 30 * DAY_S,) * 2)
    clean(job)
    assert [path.exists() for path in old] == [False, False]
    assert all(path.exists() for path in young)


def prediction(
    job: JobContext,
    client_id: ClientId,
    day: str,
    days: float,
    status: str | None = "FINISHED",
    version: int = 1,
    psi: float | None = 0.1,
) -> str:
    """A run of a prediction in MLflow that began some days ago."""
    tracking = job.registry.tracking
    client: Any = tracking.client
    experiment = tracking.start_run(make_client(client_id), PREDICT, Day(day), {}).experiment_id
    began, tags = int((time.time() - days * DAY_S) * 1000), {"model_version": str(version)}
    name = f"prediction_{day}"
    run_id = str(client.create_run(experiment, start_time=began, run_name=name, tags=tags).info.run_id)
    if psi is not None:
        client.log_metric(run_id, PSI_MAX, psi)
    if status:
        client.set_terminated(run_id, status)
    return run_id


def stages(job: JobContext, runs: list[str]) -> list[str]:
    """Those of the runs that are still there."""
    client = job.registry.tracking.client
    return [run for run in runs if client.get_run(run).info.lifecycle_stage == "active"]


@pytest.mark.parametrize("drift_dates", [0, 2])
def test_old_predictions_go_but_those_that_tell_drift(job: JobContext, drift_dates: int) -> None:
    """Of each version's last dates some stay however old they are, with every run of theirs; so does what still runs.

    Dates without the metric (filled in later, say) tell nothing, and other clients' runs are not touched.
    """
    before = prediction(job, X, "2025-12-31", 60, version=7)
    old = [prediction(job, X, f"2026-01-0{day}", 40 - day) for day in (1, 2, 2, 3)]
    backfilled = [prediction(job, X, f"2025-01-0{day}", 20 - day, psi=None) for day in (1, 2, 3)]
    young, running = prediction(job, X, "2026-01-03", 2, "FAILED"), prediction(job, X, "2026-01-01", 30, None)
    own, strange = prediction(job, Y, "2026-01-01", 12), prediction(job, ClientId("z"), "2026-01-01", 50)
    clean(job, drift_dates)
    telling = {2: [before, *old[1:]], 0: []}[drift_dates]
    assert stages(job, [before, *old, *backfilled, young, running]) == [*telling, young, running]
    assert stages(job, [own, strange]) == [*([own] if drift_dates else []), strange]


def test_another_prefixs_predictions_are_not_touched(job: JobContext) -> None:
    """On an MLflow that several prefixes share: those of an experiment that says it is another's, or nothing, stay."""
    theirs = [prediction(job, X, "2026-01-01", 50), prediction(job, Y, "2026-01-01", 50)]
    owners = {X: "file:///elsewhere", Y: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "owner", lambda self, one: owners[ClientId(one.name[-1])])
        clean(job)
    assert stages(job, theirs) == theirs


def test_what_fails_keeps_nothing_else_and_comes_once_a_day(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be removed is logged; all else is removed; and within a day it is not looked at again."""
    (prefix / "_events").mkdir()
    refused = prefix / "quarantine" / "train" / "client_id=x"
    old = [aged(refused / f"date=2026-01-0{day}" / "a.parquet", 30) for day in (1, 2, 3)]
    delete = FileSystem.delete

    def refuse(files: FileSystem, uri: str) -> None:
        if "date=2026-01-01" in uri:
            raise PermissionError(13, "Permission denied", uri)
        delete(files, uri)

    log = aged(prefix / "_events" / "local-1", 30)
    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "delete", refuse)
        clean(job)
    assert "clean-up: [Errno 13] Permission denied" in caplog.text
    assert (old[0].exists(), old[1].exists(), log.exists()) == (True, False, False)
    clean(job)
    assert old[0].exists()
    os.utime(job.state.folder / "cleaned", (time.time() - DAY_S,) * 2)
    clean(job)
    assert (old[0].exists(), old[2].exists()) == (False, True)


def test_a_state_that_cannot_be_written_fails_no_job(
    job: JobContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The clients' work is done and told by then."""

    def full(state: State) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(State, "claim_day", full)
    clean(job)
    assert "clean-up: [Errno 28] No space left on device" in caplog.text


def test_there_is_an_end_to_it(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A job's place is not held for long: what is left is for the next day."""
    logs = [aged(prefix / "_events" / f"local-{number}", 30) for number in range(3)]
    monkeypatch.setattr("bc4all.jobs.clean_up._MAX_SECONDS", -1)
    clean(job)
    assert all(file.exists() for file in logs)
    assert "the rest is for the next day" in caplog.text
