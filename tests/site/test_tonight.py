"""The next 24 hours: the queue against a second-by-second account of it, and what the page says of it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bc4all.identity import ClientId, Day
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.schedule.history import History
from bc4all.site.fleet import ClientFacts, JobFacts, job_facts
from bc4all.site.pages import render
from bc4all.site.simulation import Application, Firing, applications, simulate
from bc4all.site.tonight import SLOTS, first_slot, levels, slots
from bc4all.site.tonight_page import tonight_context
from tests.conftest import make_client
from tests.site.test_fleet import runs
from tests.site.test_report import Page, configure, note, report
from tests.site.test_report import history as history

NOW = datetime(2026, 3, 10, 22, 7, tzinfo=UTC)


@st.composite
def firings(draw: st.DrawFn) -> list[Firing]:
    """Runs of three clients within a minute: alone, together, and such that overtake each other."""
    made = {}
    for _ in range(draw(st.integers(0, 24))):
        client, job = ClientId(draw(st.sampled_from("abc"))), draw(st.sampled_from(SCHEDULED_JOBS))
        due, seconds = draw(st.integers(0, 6)) * 10, draw(st.integers(1, 9)) * 5
        day = Day(f"2026-03-{draw(st.integers(10, 11))}")
        made[client, job, due] = Firing(client, job, day, due, seconds, draw(st.booleans()), draw(st.booleans()))
    return list(made.values())


def second_by_second(due: Sequence[Firing], max_parallel: int) -> dict[Firing, tuple[float | None, float]]:
    """When each run starts and ends, by what `Dispatcher.start` does in each second."""
    queued: list[Firing] = []
    running: list[tuple[float, list[Firing]]] = []
    outcomes: dict[Firing, tuple[float | None, float]] = {}
    for now in range(1200):
        for firing in sorted(due, key=lambda one: (one.due, one.client, one.job)):
            if firing.due != now:
                continue
            for other in [] if firing.stays else [one for one in queued if one.key == firing.key]:
                queued.remove(other)
                outcomes[other] = None, now
            queued.append(firing)
        running = [(end, runs) for end, runs in running if end > now]
        busy = {one.key for _, runs in running for one in runs}
        under_way = [*queued, *(one for _, runs in running for one in runs)]
        trainings = {(one.client, one.due) for one in under_way if one.job == "train"}
        groups: dict[object, list[Firing]] = {}
        for one in sorted(queued, key=lambda one: (one.due, one.client, one.job)):
            if one.key in busy or (one.job == "predict" and (one.client, one.due) in trainings):
                continue
            busy.add(one.key)
            groups.setdefault((one.job, one.day, one.due, None if one.shares else one.client), []).append(one)
        for together in groups.values():
            if len(running) < max_parallel:
                end = now + max(one.seconds for one in together)
                running.append((end, together))
                for one in together:
                    queued.remove(one)
                    outcomes[one] = now, end
    return outcomes


@settings(max_examples=300)
@given(firings(), st.integers(1, 3))
def test_each_run_starts_when_the_scheduler_would_start_it(due: list[Firing], max_parallel: int) -> None:
    """In order, as many applications at once as may run, none of a client's job twice, none before its training."""
    runs = simulate(due, max_parallel)
    assert {one.firing: (one.start, one.end) for one in runs} == second_by_second(due, max_parallel)
    assert len(runs) == len(due)
    assert all(one.firing.due <= one.ready <= one.left_queue for one in runs)
    assert max((running for _, running, _ in levels(applications(runs))), default=0) <= max_parallel


@given(firings(), st.integers(1, 3))
def test_a_quarter_of_an_hour_shows_the_most_that_there_is_in_it(due: list[Firing], max_parallel: int) -> None:
    """By a count at every twentieth second: changes fall on none between."""
    spread = [Firing(one.client, one.job, one.day, one.due * 40, one.seconds * 40) for one in due]
    together = applications(simulate(spread, max_parallel))
    every = slots(together, spread, datetime.fromtimestamp(0, UTC))
    assert (len(every), sum(slot.due for slot in every)) == (SLOTS, len(due))
    for place, slot in enumerate(every):
        if place * 900 > max((one.end for one in together), default=-1):
            assert slot.load == 0
            continue
        moments = range(place * 900, (place + 1) * 900, 20)
        running = [sum(is_running(one, at) for one in together) for at in moments]
        waiting = [sum(one.ready <= at < one.left_queue for one in together) for at in moments]
        load = [sum(both) for both in zip(running, waiting, strict=True)]
        assert (slot.running, slot.waiting, slot.load) == (max(running), max(waiting), max(load))


def is_running(one: Application, at: float) -> bool:
    return one.start is not None and one.start <= at < one.end


def client_facts(client_id: str, seconds: float | None, **settings: Any) -> ClientFacts:
    """A client whose predictions took so many seconds each time, or were never done; its trainings never were."""
    client = make_client(client_id, **{"timezone": "UTC", "train": {"enabled": False}, **settings})
    jobs: dict[str, JobFacts] = {}
    for job in SCHEDULED_JOBS:
        done = runs([seconds] * 3) if seconds is not None and job == "predict" else []
        jobs[job] = job_facts(client, job, done, False, NOW)
    return ClientFacts(client, jobs, None, (), None)


def alone(schedule: str, **settings: Any) -> dict[str, Any]:
    return {"schedule": schedule, "batch": False, **settings}


def test_an_overload_is_said_in_words() -> None:
    """When, how many, and until when the last one waits."""
    fleet = [client_facts(f"c{number}", 600, predict=alone("0 2 * * *")) for number in range(21)]
    page = tonight_context(fleet, 3, NOW)
    assert page["verdict"] == "At 02:00 21 runs are due and 3 run at once: the last one starts at 03:00, 60 min late."
    assert page["overload"]
    assert page["notes"] == ["Each run takes the median of its job's successful runs."]
    assert (page["late_count"], page["late"][0]["id"], page["late"][0]["late"]) == (18, "c7", "60 min")
    assert [(slot["at"], slot["due"], slot["running"], slot["waiting"]) for slot in page["slots"]] == [
        ("02:00", 21, 3, 18),
        ("02:15", 0, 3, 15),
        ("02:30", 0, 3, 9),
        ("02:45", 0, 3, 6),
        ("03:00", 0, 3, 0),
    ]


def test_runs_that_are_due_one_after_the_other_may_be_too_many_together() -> None:
    """Then the sentence names the whole time."""
    fleet = [client_facts(f"c{minute}", 300, predict=alone(f"{minute} 2 * * *")) for minute in range(10)]
    said = tonight_context(fleet, 1, NOW)["verdict"]
    expected = (
        "From 02:01 to 02:09 9 runs are due and 1 run at once: the one that waits longest starts at 02:45, 36 min late."
    )
    assert said == expected


def test_clients_that_share_an_application_are_no_overload() -> None:
    """They take one place, for as long as the slowest of them."""
    fleet = [client_facts(f"c{number}", 60 * number, predict={"schedule": "0 2 * * *"}) for number in range(1, 21)]
    page = tonight_context(fleet, 2, NOW)
    assert page["verdict"] == (
        "No run waits for a place: 20 runs are due, and at most 1 of 2 applications run at once."
    )
    assert "20 runs in 1 application: " in page["notes"][0]
    assert [slot["at"] for slot in page["slots"]] == ["02:00", "02:15"]
    assert page["late"] == []


def test_a_time_that_is_overtaken_is_skipped() -> None:
    """An hour's work each half an hour: every other one is never started."""
    page = tonight_context([client_facts("slow", 3600, predict=alone("*/30 * * * *"))], 2, NOW)
    assert page["notes"][0] == "23 runs of 48 will be skipped: the next time of the same job comes first."
    (row,) = page["late"]
    assert (row["overtaken"], row["waits_for"]) == (23, "an earlier run of its own")


def test_what_has_never_been_done_is_estimated() -> None:
    """By the fleet's same job; where there is none, a minute is assumed, and the page says so."""
    timing = {"predict": alone("0 2 * * *"), "train": alone("0 2 * * *")}
    fleet = [client_facts("a", 100, **timing), client_facts("b", 300, **timing), client_facts("new", None, **timing)]
    page = tonight_context(fleet, 1, NOW)
    assert page["notes"] == [
        "Each run takes the median of its job's successful runs. 4 of 6 jobs have none yet: they take the "
        "median of the fleet's same job.",
        "No client has a successful train run yet: 60 s is assumed.",
    ]
    takes = {(row["id"], row["job"]): (row["takes"], row["estimated"]) for row in page["late"]}
    assert takes["new", "predict"] == ("3.3 min", True)
    assert takes["b", "predict"] == ("5.0 min", False)


def test_what_is_paused_is_not_due() -> None:
    one = client_facts("a", 9, predict=alone("0 2 * * *"), enabled=False)
    page = tonight_context([one], 1, NOW)
    assert (page["verdict"], page["overload"], page["slots"]) == ("Nothing is due.", False, [])
    assert "Nothing is due." in render("tonight.html.jinja", **page)


def test_the_day_begins_with_the_quarter_of_an_hour_that_it_is() -> None:
    assert first_slot(NOW) == NOW.replace(minute=0)
    assert first_slot(NOW.replace(minute=59, second=59, microsecond=9)) == NOW.replace(minute=45)


def test_a_report_has_the_page_and_leads_to_it(prefix: Path, history: History, tmp_path: Path) -> None:
    """There and back, written anew each time; it works without scripts, styles of its own or colours."""
    config, site = configure(prefix, ["a", "b"]), tmp_path / "site"
    note(history, "a", "predict", datetime.now(UTC) - timedelta(hours=2))
    report(site, config)
    links = [attributes.get("href") for tag, attributes in Page(site / "index.html").tags if tag == "a"]
    assert "tonight.html" in links
    text = (site / "tonight.html").read_text()
    assert "index.html" in [attributes.get("href") for tag, attributes in Page(text=text).tags if tag == "a"]
    assert not re.search(r"\sstyle=|<script(?! src=)|\son\w+=", text)
    assert "Filled: applications that run at once. Hatched" in text
    (site / "tonight.html").unlink()
    report(site, config)
    assert (site / "tonight.html").exists()


@pytest.mark.parametrize("minute", [0, 5, 14, 15, 59])
def test_a_daily_job_is_in_the_next_day_whenever_one_looks(minute: int) -> None:
    """Once, also in the quarter of an hour in which it has just been due."""
    now = NOW.replace(hour=6, minute=minute)
    page = tonight_context([client_facts("a", 20, predict=alone("0 6 * * *"))], 8, now)
    assert page["verdict"].startswith("No run waits for a place: 1 run is due")
    assert [slot["due"] for slot in page["slots"]] == [1]


@pytest.mark.slow
def test_a_large_fleet_fits_on_a_small_page() -> None:
    """A thousand clients, each quarter of an hour: a row a slot, not a run, and fifty of those that are late."""
    fleet = [client_facts(f"m{number:04}", 20, predict=alone("*/15 * * * *")) for number in range(1000)]
    page = tonight_context(fleet, 8, NOW)
    text = render("tonight.html.jinja", **page)
    assert len(text) < 60_000
    assert "; the 50 that start latest after it are shown." in text
    assert len(page["slots"]) == SLOTS - 1
