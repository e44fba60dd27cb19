"""What commands print for programs: the same rows as their tables, as JSON."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bc4all.cli.main import main
from tests.conftest import DAY, published_rows


def listed(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.mark.starts_from("published_sample")
def test_published_categories_are_listed_as_they_are(prefix: Path) -> None:
    """Each rank of the first products, by id, with the client and the date."""
    rows = listed("show", "--client-id", "client_0", "--limit", "3")
    expected = published_rows(prefix, "client_0")[:15]
    assert [row["product_id"] for row in rows] == expected["product_id"].tolist()
    assert [row["pred_label"] for row in rows] == expected["pred_label"].tolist()
    assert [row["pred_score"] for row in rows] == pytest.approx(expected["pred_score"].tolist())
    assert {(row["client_id"], row["date"]) for row in rows} == {("client_0", DAY)}


@pytest.mark.starts_from("published_sample")
def test_versions_are_listed_with_their_figures(prefix: Path) -> None:
    """Figures are numbers; an untrained client has an error, and no empty table before it."""
    (version,) = listed("versions", "--client-id", "client_0")
    assert (version["version"], version["aliases"], version["day"]) == (1, ["champion"], DAY)
    assert 0 < version["accuracy"] < version["top_5_accuracy"] <= 1
    done = CliRunner().invoke(main, ["versions", "--client-id", "client_1"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "client_1_model has no version" in done.stderr


def test_jobs_that_are_due_are_listed_with_their_zone(prefix: Path) -> None:
    """In order, each time with its offset."""
    timing = {"predict": {"schedule": "0 3 * * *"}, "train": {"enabled": False}}
    zones = {"a": "Europe/Berlin", "b": "America/New_York"}
    clients = {client_id: {"timezone": zone} for client_id, zone in zones.items()}
    config = prefix / "clients.yaml"
    config.write_text(json.dumps({"defaults": {"features": ["f0"], **timing}, "clients": clients}))
    rows = listed("next", "--config", str(config), "--hours", "24")
    times = [datetime.fromisoformat(row["at"]) for row in rows]
    assert times == sorted(times)
    assert {(row["client"], row["job"], row["zone"], row["at"][11:16]) for row in rows} == {
        ("a", "predict", "Europe/Berlin", "03:00"),
        ("b", "predict", "America/New_York", "03:00"),
    }
