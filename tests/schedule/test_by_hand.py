"""What bin/submit.sh started stands in the same history as all other runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from bc4all.schedule.by_hand import take_in
from bc4all.schedule.history import History
from bc4all.starter import ByHand, tell_begun, tell_interrupted, tell_result, tell_to
from bc4all.state import State
from bc4all.variables import RESULTS

SLEEP = "import time; print(flush=True); time.sleep(600)"
OUTCOME = {"exit_code": 0, "rows": 5, "version": 2, "top_5": None, "run_id": "r", "error": None, "note": ""}
BROKEN = OUTCOME | {"exit_code": 1, "error": "b: predict failed: broken"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A folder without any history."""
    return State(tmp_path / "state")


@pytest.fixture
def history(state: State) -> Iterator[History]:
    """Its history."""
    opened = History(state.history)
    yield opened
    opened.close()


def test_a_job_that_has_ended_is_taken_in_once(state: State, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done, failed, and begun without an outcome (it was killed); its file goes."""
    monkeypatch.setenv(RESULTS, "")
    file = state.by_hand("predict")
    tell_to(file, "predict", "2026-01-31")
    tell_begun(["a", "b", "c"])
    tell_result({"client_id": "a", **OUTCOME})
    tell_result({"client_id": "b", **BROKEN})
    for _ in range(2):
        take_in(state, history)
        found = {run.client: (run.job, run.day, run.trigger, run.state, run.error) for run in history.runs()}
        about = ("predict", "2026-01-31", "submit")
        assert found["a"] == (*about, "done", None)
        assert found["b"] == (*about, "failed", "broken")
        assert found["c"] == (*about, "lost", "lost: no exit status")
        assert len(history.runs()) == 3
        assert not file.exists()
    run = history.latest()["a", "predict"]
    assert (run.version, run.rows, run.mlflow_run) == (2, 5, "r")
    assert run.seconds is not None


def test_a_job_that_was_interrupted_is_stopped(state: State, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no loss; what was done before it is done."""
    monkeypatch.setenv(RESULTS, "")
    tell_to(state.by_hand("train"), "train", "2026-01-31")
    tell_begun(["a", "b"])
    tell_result({"client_id": "a", **OUTCOME})
    tell_interrupted()
    take_in(state, history)
    assert {run.client: run.state for run in history.runs()} == {"a": "done", "b": "stopped"}


def test_a_job_that_works_is_running(state: State, history: History) -> None:
    """As long as its process lives: what is done is done, the rest runs; when it is killed, that is lost."""
    file = state.by_hand("train")
    environment = {**os.environ, RESULTS: str(file)}
    with subprocess.Popen([sys.executable, "-c", SLEEP], env=environment, stdout=subprocess.PIPE) as job:
        assert job.stdout
        assert job.stdout.readline()  # before it works, its environment may not be seen yet
        head = {"event": "by hand"} | asdict(ByHand("train", "2026-01-31", time.time(), job.pid))
        begun = [{"event": "begun", "client_id": client} for client in ("a", "b")]
        lines = [head, *begun, {"client_id": "a", **OUTCOME}]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for _ in range(2):
            take_in(state, history)
            assert {run.client: run.state for run in history.runs()} == {"a": "done", "b": "running"}
            assert {run.pid for run in history.in_state("running")} == {job.pid}
        assert file.exists()
        job.kill()
        job.wait()
        take_in(state, history)
    assert {run.client: run.state for run in history.runs()} == {"a": "done", "b": "lost"}
    assert not file.exists()


def test_a_job_that_is_just_started_is_left_alone(state: State, history: History) -> None:
    """While bin/submit.sh becomes spark-submit, its environment is still that which it was given."""
    file = state.by_hand("train")
    with subprocess.Popen([sys.executable, "-c", SLEEP, "bc4all.cli.submit"]) as job:
        head = {"event": "by hand"} | asdict(ByHand("train", "2026-01-31", time.time(), job.pid))
        file.write_text(json.dumps(head) + "\n")
        take_in(state, history)
        job.kill()
        job.wait()
    assert file.exists()
    take_in(state, history)
    assert not file.exists()


def test_a_job_that_began_nothing_leaves_nothing(
    state: State, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose configuration is wrong; nor does a file without a head, or one that was cut in its head."""
    monkeypatch.setenv(RESULTS, "")
    tell_to(state.by_hand("predict"), "predict", "2026-01-31")
    state.by_hand("predict").write_text('{"event": "by hand", "job"')
    take_in(state, history)
    assert not history.runs()
    assert not state.results_by_hand()
