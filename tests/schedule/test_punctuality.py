"""How old a last success may become: long enough for every schedule's pauses, and no longer than it must be."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.config.timing import Timing, firings, last_firing
from bc4all.schedule import punctuality
from bc4all.schedule.punctuality import Expectations

MONDAY = datetime(2026, 3, 9, tzinfo=UTC)
DAY_S = 86_400


def timing(expression: str, zone: str = "UTC", timeout: int = 7200) -> Timing:
    """A job's timing: an expression, a zone and a timeout."""
    return Timing(expression, ZoneInfo(zone), 0, 0, timeout, "one", 0, True)


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("5 * * * *", 3600),
        ("0 6 * * *", DAY_S),
        ("0 6 * * 1-5", 3 * DAY_S),
        ("*/5 8-18 * * 1-5", 2 * DAY_S + 13 * 3600 + 5 * 60),
        ("0 0 1 * *", 31 * DAY_S),
        ("0 0 29 2 *", 1461 * DAY_S),
    ],
)
@pytest.mark.parametrize("day", range(7))
def test_the_longest_pause_of_a_week_counts(expression: str, seconds: int, day: int) -> None:
    """On whichever day one looks; of longer schedules the pause that it is."""
    expected = Expectations().of(timing(expression), MONDAY + timedelta(days=day + 14))
    assert expected is not None
    assert expected.allowed_age == seconds + 7200


@pytest.mark.parametrize(("timeout", "grace"), [(60, 3600), (3600, 3600), (6 * 3600, 6 * 3600)])
def test_a_run_may_take_its_timeout_and_always_an_hour(timeout: int, grace: int) -> None:
    expected = Expectations().of(timing("0 6 * * *", timeout=timeout), MONDAY)
    assert expected is not None
    assert (expected.next_due, expected.allowed_age) == (MONDAY.replace(hour=6), DAY_S + grace)


def test_a_night_with_an_hour_more_is_no_fault() -> None:
    """Where the clock goes back, a day has 25 hours."""
    berlin = timing("0 6 * * *", "Europe/Berlin", 60)
    expected = Expectations().of(berlin, datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert expected is not None
    assert expected.allowed_age == 26 * 3600


def test_the_next_time_is_true_all_day_and_the_age_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is due each minute would else hold the scheduler up each minute."""
    times, each = Expectations(), timing("* * * * *")
    first = times.of(each, MONDAY)
    calls = []
    monkeypatch.setattr(punctuality, "last_firing", lambda *words: calls.append(words))
    for minute in range(1, 60):
        expected = times.of(each, MONDAY + timedelta(minutes=minute))
        assert first is not None
        assert expected is not None
        assert expected.next_due == MONDAY + timedelta(minutes=minute + 1)
        assert expected.allowed_age == first.allowed_age
    assert calls == []
    times.of(each, MONDAY + timedelta(days=1))
    assert len(calls) == 1


def test_what_is_not_due_for_years_has_no_allowed_age() -> None:
    """A 29th of February that is a Sunday, say."""
    assert Expectations().of(timing("0 0 29 2 */7"), MONDAY.replace(year=2033)) is None


EXPRESSIONS = ["5 * * * *", "0 6 * * *", "0 6 * * 1-5", "0 8,9,20 * * 1-5", "30 2 * * *", "0 0 1 * *", "0 6 1-7 * *"]


@given(
    expression=st.sampled_from(EXPRESSIONS),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    steps=st.lists(st.integers(1, 20 * DAY_S), max_size=20),
    took=st.integers(0, 3600),
)
def test_a_job_that_keeps_its_times_is_never_too_old(
    expression: str, zone: str, start: datetime, steps: list[int], took: int
) -> None:
    """At any moment, worked out anew or remembered: each run succeeds within its grace."""
    one, remembered, now = timing(expression, zone, 3600), Expectations(), start
    for step in [0, *steps]:
        now += timedelta(seconds=step)
        finished = last_firing(expression, one.zone, now - timedelta(seconds=took))
        for expectations in (remembered, Expectations()):
            expected = expectations.of(one, now)
            assert finished is not None
            assert expected is not None
            assert (now - finished).total_seconds() - took <= expected.allowed_age
            assert expected.next_due == next(firings(expression, one.zone, now, now + timedelta(days=40)))
