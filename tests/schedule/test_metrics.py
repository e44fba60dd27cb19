"""What the history tells Prometheus, read back by its own parser."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from bc4all.config.clients import Client
from bc4all.identity import Day
from bc4all.schedule.history import History
from bc4all.schedule.metrics import RecordsCollector, SchedulerCollector, text
from bc4all.schedule.punctuality import Expectations
from bc4all.schedule.snapshot import Records, Snapshot
from tests.conftest import make_client

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
A = make_client("a", predict={"schedule": "0 6 * * *", "timeout": "2h"}, timezone="UTC")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An empty history."""
    opened = History(tmp_path / "history.sqlite")
    yield opened
    opened.close()


def note(history: History, job: str, day: int, state: str, trigger: str = "schedule", **values: object) -> None:
    """A run of six o'clock that took ten minutes, or still runs."""
    due = f"2026-03-{day:02}T06:00:00+00:00"
    run = history.add(A.id, job, Day(due[:10]), due, trigger)
    assert run is not None
    ended = None if state == "running" else due.replace("06:00", "06:10")
    history.update([run.id], state=state, started=due, ended=ended, **values)


def samples(*collectors: Collector) -> dict[tuple[str, ...], float]:
    """Each sample by its name, without the project's, and the values of its labels."""
    families = text_string_to_metric_families(text(*collectors))
    return {
        (sample.name.removeprefix("bc4all_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def recorded(history: History, *clients: Client) -> dict[tuple[str, ...], float]:
    """The records of these clients."""
    return samples(RecordsCollector(Records.read(history, clients, Expectations(), NOW)))


def test_a_job_shows_its_last_success(history: History) -> None:
    """Its figures stay after a failure, which stands beside them, and while another run is under way."""
    note(history, "predict", 8, "done", rows=90, top_5=0.5)
    note(history, "predict", 9, "done", rows=97, top_5=0.75)
    note(history, "predict", 7, "done", "backfill", rows=1)
    note(history, "predict", 10, "failed", error="no")
    note(history, "predict", 11, "running")
    values = recorded(history, A)
    assert {name: value for (name, *labels), value in values.items() if labels == ["a", "predict"]} == {
        "last_run_ok": 0,
        "last_success_timestamp_seconds": datetime(2026, 3, 9, 6, 10, tzinfo=UTC).timestamp(),
        "next_due_timestamp_seconds": datetime(2026, 3, 11, 6, tzinfo=UTC).timestamp(),
        "allowed_age_seconds": (24 + 2) * 3600,
        "duration_seconds": 600,
        "rows": 97,
        "top_5_accuracy_ratio": 0.75,
    }
    assert values["runs", "predict", "done"] == 3


def test_a_paused_job_has_no_allowed_age(history: History) -> None:
    """Nor has one of a client that is not enabled: no alert waits for either."""
    note(history, "predict", 9, "done")
    history.pause(A.id, "predict", NOW.isoformat())
    b = make_client("b", enabled=False)
    values = {key: value for key, value in recorded(history, A, b).items() if key[0] != "runs"}
    assert ("last_success_timestamp_seconds", "a", "predict") in values
    assert {key for key in values if key[0] in ("allowed_age_seconds", "next_due_timestamp_seconds")} == {
        ("allowed_age_seconds", "a", "train"),
        ("next_due_timestamp_seconds", "a", "train"),
    }


def test_a_client_that_has_left_the_configuration_raises_no_alert(history: History) -> None:
    note(history, "predict", 9, "failed")
    assert set(recorded(history)) == {("runs", "predict", "failed")}


def test_a_tuning_is_shown_once_there_was_one(history: History) -> None:
    """It has no schedule, and thus no allowed age."""
    assert not [key for key in recorded(history, A) if "tune" in key]
    note(history, "tune", 9, "done", "submit")
    assert ("last_run_ok", "a", "tune") in (values := recorded(history, A))
    assert ("allowed_age_seconds", "a", "tune") not in values


@given(st.dictionaries(st.tuples(st.text(), st.text()), st.integers(0, 10**12), max_size=5))
def test_any_label_comes_back_as_it_was(runs: dict[tuple[str, str], int]) -> None:
    """Quotes, backslashes, line ends: nothing that stands in the history's file makes other samples of the text."""
    values = samples(SchedulerCollector(Snapshot(records=Records(runs))))
    assert {key[1:]: value for key, value in values.items() if key[0] == "runs"} == runs


def test_two_texts_share_nothing() -> None:
    """No registry of the process holds what the text before was made of."""
    first = text(SchedulerCollector(Snapshot(1.0, records=Records({("train", "done"): 1}))))
    assert first != text(SchedulerCollector(Snapshot(2.0)))
    assert first == text(SchedulerCollector(Snapshot(1.0, records=Records({("train", "done"): 1}))))


def test_each_metric_is_a_gauge_with_a_meaning() -> None:
    """Nothing is counted here: what is forgotten by the history makes its numbers smaller."""
    families = list(SchedulerCollector(Snapshot()).collect())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert (family.type, family.documentation[-1]) == ("gauge", "."), family.name
