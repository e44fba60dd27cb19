"""`bc4all metrics`, from a history, manifests and an MLflow that are real, read back by Prometheus' own parser."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from bc4all.cli.main import main
from bc4all.identity import ClientId, Day
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.schedule.history import History
from bc4all.schedule.metrics import text
from bc4all.site.fleet import ClientFacts, Newest
from bc4all.site.metrics import PublishedCollector
from bc4all.state import State
from tests.conftest import make_client
from tests.site.test_report import NOW, configure, note, publish

TODAY = NOW.date().isoformat()
MIDNIGHT = datetime.fromisoformat(TODAY).replace(tzinfo=UTC).timestamp()


def parsed(content: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name, without the project's, and the values of its labels."""
    return {
        (sample.name.removeprefix("bc4all_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(content)
        for sample in family.samples
    }


def metrics(config: Path, *words: str) -> str:
    """What the command prints."""
    done = CliRunner().invoke(main, ["metrics", "--config", str(config), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def note_run(at: datetime, **values: object) -> None:
    """A run of client a in the history of the prefix."""
    history = History(State.from_environment(Layout.from_environment()).history)
    note(history, "a", "predict", at, **values)  # type: ignore[arg-type]
    history.close()


def make_champion(client_id: str, version_file: Path) -> None:
    """A registered version that is the champion."""
    layout = Layout.from_environment()
    client = Tracking(tracking_uri(layout), layout).client
    client.create_registered_model(f"{client_id}_model")
    client.create_model_version(f"{client_id}_model", str(version_file))
    client.set_registered_model_alias(f"{client_id}_model", "champion", "1")


def test_shows_jobs_published_dates_and_champions(prefix: Path, tmp_path: Path) -> None:
    """Each number of a client from where it is kept; of a new client, when its jobs are due."""
    config = configure(prefix, {"a": {"max_quarantine": 0.1, "drift": {"psi": 0.3}}, "new": None})
    note_run(NOW - timedelta(minutes=1), rows=97, top_5=0.75)
    publish(prefix, "a", TODAY, coverage=0.5, drift={"psi": {"f0": 0.1, "f1": 0.25}})
    make_champion("a", tmp_path)
    values = parsed(metrics(config))
    of_client = {name: value for (name, *labels), value in values.items() if labels == ["a"]}
    assert of_client == {
        "published_date_timestamp_seconds": MIDNIGHT,
        "refused_ratio": 0.03,
        "refused_limit_ratio": 0.1,
        "coverage_ratio": 0.5,
        "drift_psi": 0.25,
        "drift_limit_psi": 0.3,
    }
    champion = ("model_info", "a", make_client("a").model_name, "1")
    assert [key for key in values if key[0] == "model_info"] == [champion]
    assert values["rows", "a", "predict"] == 97
    assert values["runs", "predict", "done"] == 1
    assert {name for (name, *labels) in values if labels[:1] == ["new"]} == {
        "refused_limit_ratio",
        "drift_limit_psi",
        "allowed_age_seconds",
        "next_due_timestamp_seconds",
    }


def test_a_file_is_replaced_whole_and_readable_by_others(prefix: Path, tmp_path: Path) -> None:
    """node_exporter, a user of its own, reads it at any moment; nothing else is left in its folder."""
    config, folder = configure(prefix, ["a"]), tmp_path / "textfiles"
    folder.mkdir()
    file = folder / "bc4all.prom"
    file.write_text("of before")
    assert metrics(config, "--textfile", str(file)) == ""
    assert ("allowed_age_seconds", "a", "predict") in parsed(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(folder.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_named(prefix: Path, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "bc4all.prom"
    words = ["metrics", "--config", str(configure(prefix, ["a"])), "--textfile", str(file)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert f"the metrics cannot be written: No such file or directory ({file})" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("zone", "began"),
    [
        ("UTC", "2026-03-29T00:00+00:00"),
        ("Europe/Berlin", "2026-03-29T00:00+01:00"),
        ("Asia/Tokyo", "2026-03-28T15:00Z"),
    ],
)
def test_a_date_begins_in_the_clients_zone(zone: str, began: str) -> None:
    """Also on the day when the clock changes; without rows there is no share of refused ones."""
    newest = Newest(Day("2026-03-29"), {"rows_in": 0, "rows_quarantined": 0})
    facts = ClientFacts(make_client("a", timezone=zone), {}, None, [newest.day], newest)
    values = parsed(text(PublishedCollector([facts])))
    assert values["published_date_timestamp_seconds", ClientId("a")] == datetime.fromisoformat(began).timestamp()
    assert ("refused_ratio", "a") not in values
