"""What `bc4all status` shows beside states."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bc4all.cli.status import fleet_status, status_table
from bc4all.schedule.history import History
from bc4all.schedule.trainings import WAITS
from tests.conftest import ROOT, make_client


def shown(rows: list[dict[str, Any]]) -> str:
    """The fleet's status as a terminal shows it."""
    console = Console(record=True, width=100)
    console.print(status_table(rows, datetime(2026, 2, 1, tzinfo=UTC)))
    return console.export_text()


def test_status_says_what_is_to_be_known(tmp_path: Path) -> None:
    """A run that is done, and has a note, is shown with it."""
    history = History(tmp_path / "history.db")
    run = history.add("client_0", "predict", "2026-01-31", "2026-01-31T00:00:00+00:00", "schedule")
    assert run
    begun = "2026-01-31T00:00:01+00:00"
    history.update([run.id], state="done", started=begun, note="drift in 2 of 3 predictions")
    rows = fleet_status([make_client("client_0")], ["predict"], history, datetime(2026, 2, 1, tzinfo=UTC))
    history.close()
    assert "client_0: predict: drift in 2 of 3 predictions" in shown(rows)


def test_status_says_what_waits_for_its_first_training(tmp_path: Path) -> None:
    """A new client's prediction, which goes behind its training, is no failure."""
    history = History(tmp_path / "history.db")
    run = history.add("client_0", "predict", "2026-01-31", "2026-01-31T00:00:00+00:00", "schedule")
    assert run
    history.update([run.id], note=WAITS)
    (row,) = fleet_status([make_client("client_0")], ["predict"], history, datetime(2026, 2, 1, tzinfo=UTC))
    history.close()
    assert (row["state"], row["failed"]) == ("queued", False)
    assert "client_0: predict: waits for its first training" in shown([row])


def test_status_says_which_notices_were_not_delivered(tmp_path: Path) -> None:
    """How many of the last runs' notices, and why the last one was not; a later run that is well says nothing."""
    history, clients = History(tmp_path / "history.db"), [make_client(f"client_{number}") for number in range(3)]
    for client in clients:
        run = history.add(client.id, "predict", "2026-01-31", "2026-01-31T00:00:00+00:00", "schedule")
        assert run
        history.update([run.id], state="failed", started="2026-01-31T00:00:01+00:00", error="broken")
        history.update([run.id], unnotified="no route to host" if client is not clients[0] else None)
    rows = fleet_status(clients, ["predict"], history, datetime(2026, 2, 1, tzinfo=UTC))
    history.close()
    assert "2 notices not delivered, the last: no route to host" in shown(rows)
    assert "not delivered" not in shown(rows[:1])


def test_tables_are_whole_in_a_file_of_any_encoding(tmp_path: Path) -> None:
    """Off a terminal no column is cut, and what the encoding lacks is no crash."""
    name = f"client_{'x' * 57}"
    config = tmp_path / "clients.yaml"
    config.write_text(f"defaults: {{features: [f0]}}\nclients: {{{name}: }}\n")
    kept = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment = {**kept, "PYTHONIOENCODING": "ascii", "DATA_PREFIX": str(tmp_path)}
    command = [sys.executable, "-m", "bc4all.cli.main", "status", "--config", str(config)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii").count(name) == 2
