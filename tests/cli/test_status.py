"""What `bc4all status` shows beside states."""

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bc4all.cli.status import fleet_status, status_table
from bc4all.schedule.history import History
from tests.conftest import make_client


def test_status_says_what_is_to_be_known(tmp_path: Path) -> None:
    """A run that is done, and has a note, is shown with it."""
    history = History(tmp_path / "history.db")
    run = history.add("client_0", "predict", "2026-01-31", "2026-01-31T00:00:00+00:00", "schedule")
    assert run
    begun = "2026-01-31T00:00:01+00:00"
    history.update([run.id], state="done", started=begun, note="drift in 2 of 3 predictions")
    rows = fleet_status([make_client("client_0")], ["predict"], history, datetime(2026, 2, 1, tzinfo=UTC))
    history.close()
    console = Console(record=True, width=100)
    console.print(status_table(rows, datetime(2026, 2, 1, tzinfo=UTC)))
    assert "client_0: predict: drift in 2 of 3 predictions" in console.export_text()
