"""A day in the life of ten real clients: the scheduler on a fast clock, every job through the real spark-submit."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bc4all.config.fleet_file import load_fleet
from bc4all.layout import Layout
from bc4all.schedule.history import SCHEDULED, History
from bc4all.schedule.notices import Notice
from bc4all.schedule.operations import Operations
from bc4all.schedule.scheduler import Scheduler
from bc4all.state import State
from tests.conftest import QUICK_JAVA, deliver_some, published_rows

CLIENTS = [f"client_{number}" for number in range(10)]
THERE = "Europe/London"
BAD = "client_9"  # it is never trained
START = datetime(2026, 1, 31, 22, tzinfo=UTC)
CONFIGURATION = f"""
scheduler: {{port: 0, spark_options: [--driver-java-options, {QUICK_JAVA}]}}
defaults:
  features: [f0, f1, f2, f3, f4]
  model_params: {{n_estimators: 5, random_state: 1}}
  timezone: Europe/Berlin
  train: {{schedule: 0 1 1 * *}}
  predict: {{schedule: 0 6 * * *}}
clients:
"""


def test_ten_real_clients_run_a_day(prefix: Path, seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is trained and scored at its hour, with its own result; one that fails reddens none of the others."""
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    for client_id in CLIENTS:
        deliver_some(seed, prefix, client_id, 2000)
    lines = [f"  {client_id}:\n" for client_id in CLIENTS[:5]]
    there = f"timezone: {THERE}, train: {{schedule: 0 0 1 * *}}, predict: {{schedule: 0 5 * * *}}"
    lines += [f"  {client_id}: {{{there}}}\n" for client_id in CLIENTS[5:9]]
    lines.append(f"  {BAD}: {{timezone: {THERE}, train: {{enabled: false}}, predict: {{schedule: 0 5 * * *}}}}\n")
    config = prefix.parent / "clients.yaml"
    config.write_text(CONFIGURATION + "".join(lines))
    now = START.timestamp()
    layout = Layout.at(str(prefix))
    state = State.from_environment(layout)
    history, notices = History(state.history), list[Notice]()
    operations = Operations(layout, state, history)
    dispatcher = operations.dispatcher(lambda run: run.trigger in SCHEDULED, notices.append, lambda: now)
    scheduler = Scheduler(lambda: load_fleet(config), history, dispatcher, lambda: now)
    while True:
        scheduler.step()
        while dispatcher.running:
            time.sleep(0.2)
            scheduler.step()
        if scheduler.next is None or scheduler.next > START + timedelta(days=1):
            break
        now = scheduler.next.timestamp()
    runs = {(run.client, run.job): run for run in history.runs()}
    assert len(runs) == len(history.runs()) == 19
    for (client_id, job), run in runs.items():
        expected = "failed" if client_id == BAD else "done"
        assert run.state == expected, (client_id, job, run.error, Path(str(run.log)).read_text())
        hour = {"train": "00", "predict": "05"}[job]  # in both zones
        assert run.scheduled_for == f"2026-02-01T{hour}:00:00+00:00"
        if client_id != BAD:
            assert (run.day, run.version) == ("2026-02-01", 1)
            assert len(str(run.mlflow_run)) == 32
    assert len({run.application for run in runs.values()}) == 2  # due at the same time, both zones' share one
    assert [(notice.client, notice.event) for notice in notices] == [(BAD, "failed")]
    assert "has no champion" in str(runs[BAD, "predict"].error)
    for client_id in CLIENTS[:9]:
        rows = published_rows(prefix, client_id, "2026-02-01")
        assert len(rows) == 5 * (runs[client_id, "predict"].rows or 0) > 0
    assert not (prefix / "products_categories" / f"client_id={BAD}").exists()
