"""What is said of a client's jobs: which are late, and which take another time than usual."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from bc4all.identity import ClientId, Day
from bc4all.schedule.history import Run, iso
from bc4all.site.fleet import job_facts
from tests.conftest import make_client

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
CLIENT = make_client("a", predict={"schedule": "0 6 * * *"}, timezone="UTC")


def runs(
    ends: Sequence[float], last: datetime = NOW - timedelta(hours=6), states: Sequence[str] | None = None
) -> list[Run]:
    """Runs of the last days that took so many seconds."""
    made = []
    for place, seconds in enumerate(ends):
        at = last - timedelta(days=len(ends) - 1 - place)
        state = states[place] if states else "done"
        day, started, ended = Day(at.date().isoformat()), iso(at.timestamp()), iso(at.timestamp() + seconds)
        made.append(
            Run(
                place,
                ClientId("a"),
                "predict",
                day,
                at.isoformat(),
                1,
                "schedule",
                state,
                0.0,
                started=started,
                ended=ended,
            )
        )
    return made


@pytest.mark.parametrize(
    ("last", "now", "late"),
    [
        (NOW.replace(hour=6), NOW, None),
        (NOW.replace(day=9, hour=6), NOW.replace(hour=6, minute=59), None),
        (NOW.replace(day=9, hour=6), NOW.replace(hour=7), NOW.replace(hour=6)),
        (NOW.replace(day=7, hour=6), NOW, NOW.replace(day=8, hour=6)),
    ],
    ids=["it came", "less than an hour ago", "an hour ago", "the first of those that are missing"],
)
def test_a_job_is_late_an_hour_after_it_was_due(last: datetime, now: datetime, late: datetime | None) -> None:
    """Without a run of that time, or a later one."""
    assert job_facts(CLIENT, "predict", runs([9], last), False, now).late_since == late


def test_what_is_paused_or_was_never_there_is_not_late() -> None:
    old = runs([9], NOW - timedelta(days=9))
    paused = job_facts(CLIENT, "predict", old, True, NOW)
    assert (paused.late_since, paused.next, paused.paused) == (None, None, True)
    assert job_facts(CLIENT, "predict", [], False, NOW).late_since is None


@pytest.mark.parametrize(
    ("seconds", "unusual"),
    [([10, 11, 9, 10, 19], None), ([10, 11, 9, 10, 30], 3.0), ([10, 11, 9, 10, 2], 0.2), ([10, 30], None)],
    ids=["usual", "slow", "too fast", "too few to tell"],
)
def test_a_run_of_another_length_than_usual_is_seen(seconds: Sequence[float], unusual: float | None) -> None:
    """One that is too fast has perhaps done nothing."""
    assert job_facts(CLIENT, "predict", runs(seconds), False, NOW).unusual == unusual


def test_what_was_missed_has_not_come() -> None:
    """It makes no late job punctual, and no failing one well."""
    failed = job_facts(CLIENT, "predict", runs([10, 0], states=["failed", "missed"]), False, NOW)
    assert failed.is_failing
    assert failed.late_since == NOW.replace(hour=6)


def test_a_failed_runs_length_tells_nothing() -> None:
    facts = job_facts(CLIENT, "predict", runs([10] * 6 + [500], states=["done"] * 6 + ["timeout"]), False, NOW)
    assert (facts.seconds, facts.unusual, facts.is_failing) == (10, None, True)
    again = job_facts(CLIENT, "predict", runs([10, 500, 3], states=["done", "timeout", "running"]), False, NOW)
    assert again.is_failing
