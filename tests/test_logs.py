"""The log: text for people, Spark's structured schema for machines; every event says whose it is."""

import json
import logging
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path
from threading import Thread

import pytest

from bc4all.logs import log_context, start_log

pytestmark = pytest.mark.usefixtures("own_log")


def test_an_event_of_a_thread_carries_its_client(capsys: pytest.CaptureFixture[str]) -> None:
    """A thread started with a copy of the context adds its client to the application; the others do not see it."""
    start_log("info", structured=True)

    def work() -> None:
        with log_context(client_id="a"):
            logging.getLogger("bc4all.jobs.train_job").info("working")

    with log_context(application_id="app-1"):
        thread = Thread(target=copy_context().run, args=(work,))
        thread.start()
        thread.join()
        logging.getLogger("bc4all.jobs.train_job").info("done")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["context"] == {"application_id": "app-1", "client_id": "a"}
    assert (first["msg"], first["level"]) == ("working", "INFO")
    assert second["context"] == {"application_id": "app-1"}


def test_an_exception_is_part_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback does not break the line: it is in the event, frame by frame."""
    start_log("info", structured=True)
    try:
        int("two\nlines")
    except ValueError:
        logging.getLogger("bc4all.jobs.train_job").info("failed", exc_info=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"]["class"] == "ValueError"


@pytest.mark.parametrize(("level", "seen"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_the_level_is_of_this_project_alone(capsys: pytest.CaptureFixture[str], level: str, seen: int) -> None:
    """--log-level moves the project's own events; a library's debug noise stays out."""
    start_log(level, structured=False)
    for name in ("debug", "info", "warning"):
        getattr(logging.getLogger("bc4all.jobs.train_job"), name)("an event")
    logging.getLogger("py4j").debug("noise")
    assert len(capsys.readouterr().err.splitlines()) == seen


def test_mlflow_says_no_more_than_it_is_asked_for(tmp_path: Path) -> None:
    """However late it is imported, and although it sets its own level then."""
    program = "from bc4all.logs import start_log; start_log('info', True); import mlflow, logging; "
    program += "print(logging.getLogger('mlflow').getEffectiveLevel())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(logging.WARNING)


def test_no_secret_of_the_environment_is_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords and tokens are blacked out in messages and tracebacks, as text and as JSON."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", 'pass"word\\1')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:pw%401234@host/db")
    said = ['cannot reach postgresql://me:pw%401234@host/db with pass"word\\1', "or pw@1234"]
    for structured in (False, True):
        start_log("info", structured=structured)
        try:
            {}[" ".join(said)]
        except KeyError as error:
            logging.getLogger("bc4all.jobs.train_job").info(
                "failed: %s of s3://key:secret@bucket", error.args[0], exc_info=True
            )
    logged = capsys.readouterr().err
    for secret in ('pass"word', "word\\\\1", "pw%401234", "pw@1234", "key:secret"):
        assert secret not in logged, logged
    assert logged.count("postgresql://me:…@host/db") >= 4
