"""Everything that is due is started once, at its minute, whatever happens to the scheduler in between."""

import heapq
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bc4all.config.clients import Fleet
from bc4all.config.fleet_file import load_fleet
from bc4all.identity import ClientId, Day
from bc4all.schedule import trainings
from bc4all.schedule.child import Order
from bc4all.schedule.dispatch import Dispatcher
from bc4all.schedule.history import SCHEDULED, History, Run
from bc4all.schedule.notices import Notice
from bc4all.schedule.scheduler import Scheduler
from bc4all.state import State

START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney")


@dataclass
class Clock:
    """Time as the test says."""

    now: float = START.timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A scheduler on a fast clock. Its jobs are stand-ins that take `seconds` and end with `code(client, attempt)`."""

    state: State
    config: Path
    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0
    code: Callable[[str, int], int] = lambda client, attempt: 0
    silent: set[str] = field(default_factory=set)  # clients without a result
    waiting: set[str] = field(default_factory=set)  # those that are not even begun, where others are
    mute: bool = False  # whether jobs write nothing at all
    deadly: set[str] = field(default_factory=set)  # clients that kill their whole application
    exit_code: int = 0
    drifted: Callable[[str, float], bool] = lambda client, now: False
    untrained: set[str] = field(default_factory=set)  # clients that have no model yet
    started: list[tuple[list[str], float]] = field(default_factory=list)  # clients and when, an application each
    ends: list[float] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    most_running: int = 0
    jumped: float = 0.0  # how far somebody has set the clock

    def timer(self) -> float:
        """Time that passes, whatever the clock says."""
        return self.clock.now - self.jumped

    def jump(self, seconds: float) -> None:
        """Set the clock."""
        self.clock.now += seconds
        self.jumped += seconds

    def start(self) -> "World":
        """Start the scheduler, or start it again."""
        self.history = History(self.state.history)
        self.dispatcher = Dispatcher(
            self.state,
            self.history,
            self.command,
            self.spawn,
            lambda run: run.trigger in SCHEDULED,
            self.notices.append,
            self.clock,
            self.timer,
        )
        self.scheduler = Scheduler(lambda: load_fleet(self.config), self.history, self.dispatcher, self.clock)
        self.scheduler.step()
        return self

    def command(self, fleet: Fleet, runs: Sequence[Run]) -> list[str]:
        """What a stand-in needs to know."""
        return [runs[0].job, *(run.client for run in runs)]

    def spawn(self, order: Order) -> "StandIn":
        """Start a stand-in."""
        child = StandIn(self, order, list(order.command[1:]), self.clock.now + self.seconds, started=self.timer())
        self.started.append((child.clients, self.clock.now))
        if self.seconds:
            heapq.heappush(self.ends, child.ends)
        self.most_running = max(self.most_running, len(self.dispatcher.running) + 1)
        return child

    def run_until(self, end: datetime) -> None:
        """Step whenever something is due or ends, until a time."""
        while True:
            while self.ends and self.ends[0] < self.clock.now:
                heapq.heappop(self.ends)
            waiting = self.history.in_state("queued") if self.seconds else []
            retries = [run.not_before for run in waiting if run.not_before > self.clock.now]
            due = [self.scheduler.next.timestamp()] if self.scheduler.next else []
            coming = min([*due, *self.ends[:1], *retries], default=float("inf"))
            if coming > end.timestamp():
                break
            self.clock.now = max(self.clock.now, coming)
            self.scheduler.step()
            if self.ends and self.ends[0] <= self.clock.now:
                heapq.heappop(self.ends)
                self.scheduler.step()
        self.clock.now = end.timestamp()
        self.scheduler.step()

    def stop(self) -> None:
        """Be gone, without a word."""
        self.history.close()

    def runs(self, where: str = "1") -> list[Run]:
        """What the history says."""
        return self.history._find(where)


@dataclass
class StandIn:
    """A child that is only a time at which it ends: what a real one does is tested in test_child and tests/spark."""

    world: World
    order: Order
    clients: list[str]
    ends: float
    pid: int = 2**22 + 1  # no process has it
    started: float = 1.0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.slot = os.dup(self.order.slot)  # as a child inherits it

    @property
    def mark(self) -> str:
        return self.order.mark

    def go(self) -> None:
        """Say what becomes of each client, as a job does."""
        lines = []
        if self.world.deadly & set(self.clients):
            lines = [json.dumps({"event": "begun", "client_id": client}) + "\n" for client in self.clients]
            self.order.results.write_text("".join(lines))
            return
        for client in self.clients:
            if self.world.mute or (client in self.world.waiting and not self.world.waiting >= set(self.clients)):
                continue
            lines.append(json.dumps({"event": "begun", "client_id": client}) + "\n")
            if client in self.world.silent:
                continue
            runs = self.world.runs(f"client = '{client}' AND state = 'running'")
            code, job = self.world.code(client, runs[-1].attempt), runs[-1].job
            untrained = job == "predict" and client in self.world.untrained
            if untrained:
                code = 1
            elif job == "train" and not code:
                self.world.untrained.discard(client)
            result = {"client_id": client, "exit_code": code, "rows": 1, "version": 1, "top_5": None, "run_id": "r"}
            result |= {"error": "broken" if code else None, "untrained": untrained}
            result |= {"drifted": runs[-1].job == "predict" and self.world.drifted(client, self.world.clock.now)}
            lines.append(json.dumps(result) + "\n")
        self.order.results.write_text("".join(lines))

    @property
    def ended(self) -> bool:
        return self.stopped or self.world.clock.now >= self.ends

    @property
    def exit_code(self) -> int | None:
        if self.world.deadly & set(self.clients):
            return 128 + signal.SIGKILL if self.ended else None
        return (128 + signal.SIGTERM if self.stopped else self.world.exit_code) if self.ended else None

    def signal(self, number: int) -> int:
        self.stopped = True
        if not self.world.silent:
            self.order.results.unlink()
        return 1

    def kill(self) -> int:
        os.close(self.slot)
        return 0

    def clear(self) -> None:
        """It leaves nothing."""


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Worlds with a configuration: `world("clients: …")`."""

    def make(text: str, **settings: object) -> World:
        config = tmp_path / "clients.yaml"
        config.write_text(text)
        return World(State(tmp_path / "state"), config, **settings)  # type: ignore[arg-type]

    return make


def configuration(clients: Sequence[str], scheduler: str = "{max_parallel: 64}") -> str:
    """A file with a line for each client."""
    lines = "".join(f"  {line}\n" for line in clients)
    return f"scheduler: {scheduler}\nkeep: {{history: 999d}}\ndefaults: {{features: [a]}}\nclients:\n{lines}"


def occurrence(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, of a fixed local time: the first if there are two, the end of the gap if there is none."""
    at = local.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == local:
        return at
    moment = at - timedelta(hours=3)
    while moment.astimezone(zone).replace(tzinfo=None) < local:
        moment += timedelta(minutes=1)
    return moment


def expected(minute: int, hour: int, day: int | None, zone: str, first: date, days: int) -> Iterator[datetime]:
    """Every moment at which `minute hour day * *` is due: a plain walk over local dates, without a cron library."""
    for number in range(days):
        at = first + timedelta(days=number)
        if day is None or at.day == day:
            yield occurrence(datetime(at.year, at.month, at.day, hour, minute), ZoneInfo(zone))


@pytest.mark.slow
def test_a_year_of_thirty_clients(world: Callable[..., World]) -> None:
    """Over a year, both changes to and from summer time and two days of downtime included, every firing is as computed.

    Trainings are monthly, predictions daily; catch-up is none, one or all.
    """
    catch_up = ("none", "one", "all")
    lines, plan = [], {}
    for number in range(30):  # each zone with each policy, twice
        zone, policy = ZONES[number % 5], catch_up[number % 3]
        minute, hour = number * 7 % 60, number * 5 % 24
        train, predict = f"{minute} {hour} {number % 28 + 1} * *", f"{minute} {hour} * * *"
        jobs = f"train: {{schedule: {train}, catch_up: {policy}}}, predict: {{schedule: {predict}, catch_up: {policy}}}"
        lines.append(f"c{number}: {{timezone: {zone}, {jobs}}}")
        plan[f"c{number}"] = (minute, hour, number % 28 + 1, zone, policy)
    here = world(configuration(lines)).start()
    down, up = datetime(2026, 7, 10, 11, 30, tzinfo=UTC), datetime(2026, 7, 12, 11, 30, tzinfo=UTC)
    end = datetime(2027, 1, 1, tzinfo=UTC)
    here.run_until(down)
    here.stop()
    here.clock.now = up.timestamp()
    here.start().run_until(end)
    here.scheduler.step()  # predictions go behind the trainings of their minute
    found: dict[tuple[str, str], list[datetime]] = {}
    for run in here.runs("state = 'done'"):
        found.setdefault((run.client, run.job), []).append(datetime.fromisoformat(run.scheduled_for))
    for client, (minute, hour, day, zone, policy) in plan.items():
        for job, only in (("train", day), ("predict", None)):
            every = [at for at in expected(minute, hour, only, zone, date(2025, 12, 31), 368) if START < at <= end]
            missed = [at for at in every if down < at < up - timedelta(minutes=2)]
            recent = [at for at in missed if at >= up - timedelta(hours=24)]
            punctual = any(up - timedelta(minutes=2) <= at <= up for at in every)
            kept = {"none": [], "one": [] if punctual else recent[-1:], "all": recent}[policy]
            assert sorted(found.get((client, job), [])) == sorted({*every} - {*missed} | {*kept}), (client, job)
    assert not here.runs("state IN ('queued', 'running')")


HOURLY = "predict: {schedule: 0 * * * *, retries: 2, retry_delay: 1m, catch_up: all}, train: {enabled: false}"


def hours(number: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=number)


def test_retries_only_what_may_pass(world: Callable[..., World]) -> None:
    """Exit code 75 is tried again, later and later, up to `retries`; 1 is not. One notice a failure and a recovery."""
    codes = {"passes": {1: 75, 2: 75, 3: 0}, "stays": {1: 1}, "well": {1: 0}, "never": {1: 75, 2: 75, 3: 75}}
    lines = [f"{client}: {{timezone: UTC, {HOURLY}}}" for client in codes]
    here = world(configuration(lines), seconds=5.0, code=lambda client, attempt: codes[client].get(attempt, 0)).start()
    here.run_until(hours(1.5))
    states = {client: [run.state for run in here.runs(f"client = '{client}'")] for client in codes}
    assert states["passes"] == ["failed", "failed", "done"]
    assert states["stays"] == ["failed"]
    assert states["well"] == ["done"]
    assert states["never"] == ["failed"] * 3
    assert [(notice.event, notice.client) for notice in here.notices] == [("failed", "stays"), ("failed", "never")]
    begun = [datetime.fromisoformat(str(run.started)) for run in here.runs("client = 'never'")]
    waits = [(later - earlier).total_seconds() - 5 for earlier, later in pairwise(begun)]
    assert 30 <= waits[0] <= 91
    assert 60 <= waits[1] <= 181
    codes["stays"] = {1: 0}
    here.run_until(hours(2.5))
    assert [(notice.event, notice.client) for notice in here.notices[2:3]] == [("recovered", "stays")]


def test_due_at_the_same_minute_share_an_application(world: Callable[..., World]) -> None:
    """Those that may be batched are one application, with each client's own result; the others are alone."""
    lines = [f"{client}: {{timezone: UTC, {HOURLY}}}" for client in ("a", "b", "c")]
    lines.append(
        f"alone: {{timezone: UTC, {HOURLY[:-1].replace('train: {enabled: false', 'train: {enabled: false}')}}}"
    )
    lines[-1] = lines[-1].replace("catch_up: all", "catch_up: all, batch: false")
    here = world(configuration(lines), code=lambda client, attempt: int(client == "b")).start()
    here.run_until(hours(1.5))
    assert sorted(clients for clients, _ in here.started) == [["a", "b", "c"], ["alone"]]
    assert {run.client: run.state for run in here.runs()} == dict.fromkeys(("a", "c", "alone"), "done") | {
        "b": "failed"
    }


def test_max_parallel_holds(world: Callable[..., World]) -> None:
    """However many are due, no more than `max_parallel` applications run; the rest wait, and none is left out."""
    lines = [f"c{i}: {{timezone: UTC, {HOURLY.replace('catch_up', 'batch: false, catch_up')}}}" for i in range(20)]
    here = world(configuration(lines, "{max_parallel: 3}"), seconds=60.0).start()
    here.run_until(hours(1.9))
    assert here.most_running == 3
    assert len(here.runs("state = 'done'")) == 20


def test_a_client_is_never_run_beside_itself(world: Callable[..., World]) -> None:
    """A run that takes longer than its period holds the next one up; waiting ones are overtaken, not piled up."""
    line = "slow: {timezone: UTC, predict: {schedule: 0 * * * *}, train: {enabled: false}}"
    here = world(configuration([line]), seconds=3.5 * 3600).start()
    here.run_until(hours(12.5))
    begun = [datetime.fromisoformat(str(run.started)) for run in here.runs("started IS NOT NULL")]
    assert all(later - earlier >= timedelta(hours=3.5) for earlier, later in pairwise(begun))
    assert [run.scheduled_for[11:13] for run in here.runs("started IS NOT NULL")] == ["01", "04", "08", "11"]
    assert len(here.runs("state = 'missed'")) == 7
    assert len(here.runs("state = 'queued'")) == 1


def test_a_changed_or_resumed_schedule_is_not_due_for_the_past(world: Callable[..., World]) -> None:
    """What a new schedule would have meant earlier is not made up for, running or not; nor what a pause kept away."""
    line = "x: {timezone: UTC, predict: {schedule: 0 6 * * *, catch_up: all}, train: {enabled: false}}"
    here = world(configuration([line])).start()
    here.run_until(hours(7))
    assert len(here.runs("state = 'done'")) == 1
    here.config.write_text(configuration([line.replace("0 6", "0 5")]))
    here.scheduler.reload()
    here.run_until(hours(24))
    assert len(here.runs("state = 'done'")) == 1
    here.history.pause("x", "predict", "now")
    here.run_until(hours(30))
    here.history.resume("x", "predict")
    here.run_until(hours(31))
    assert len(here.runs("state = 'done'")) == 1
    here.stop()
    here.clock.now = hours(50).timestamp()
    here.config.write_text(configuration([line.replace("0 6", "0 1")]))
    here.start().run_until(hours(51))
    assert len(here.runs("state = 'done'")) == 1
    here.run_until(hours(74))
    assert [run.scheduled_for for run in here.runs("state = 'done'")][1:] == [hours(73).isoformat()]


def test_a_broken_file_keeps_the_old_schedule(world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """A configuration with faults is told, line and column included, and what was in force stays in force."""
    here = world(configuration([f"x: {{timezone: UTC, {HOURLY}}}"])).start()
    sound = here.config.read_text()
    here.config.write_text(sound.replace("0 * * * *", "0 * * *"))
    here.scheduler.reload()
    assert not here.scheduler.valid
    assert "a schedule has five fields" in caplog.text
    here.run_until(hours(2.5))
    assert len(here.runs("state = 'done'")) == 2
    here.config.write_text(sound)
    here.scheduler.reload()
    assert here.scheduler.valid


def test_a_client_that_is_gone_is_not_run(world: Callable[..., World]) -> None:
    """A retry that waits when its client is taken out of the file is let go."""
    here = world(configuration([f"x: {{timezone: UTC, {HOURLY}}}", "y: "]), code=lambda client, attempt: 75).start()
    here.run_until(hours(1))
    here.scheduler.step()
    assert len(here.runs("client = 'x' AND state = 'queued'")) == 1
    here.config.write_text(configuration(["y: "]))
    here.scheduler.reload()
    here.scheduler.step()
    assert not here.runs("client = 'x' AND state = 'queued'")


def test_a_run_over_its_timeout_is_told_to_end(world: Callable[..., World]) -> None:
    """It is recorded as such, noticed once, and not tried again."""
    line = f"x: {{timezone: UTC, {HOURLY.replace('retries', 'timeout: 10m, retries')}}}"
    here = world(configuration([line]), seconds=1e6).start()
    here.run_until(hours(1))
    here.clock.now += 601
    here.scheduler.step()
    here.scheduler.step()
    assert [run.state for run in here.runs()] == ["timeout"]
    assert [notice.state for notice in here.notices] == ["timeout"]


def begun_together(world: Callable[..., World], settings: str, **told: object) -> World:
    """Clients a to e, due and started at the same minute."""
    job = HOURLY.replace("retries: 2, retry_delay: 1m", settings)
    here = world(configuration([f"{client}: {{timezone: UTC, {job}}}" for client in "abcde"]), **told).start()
    here.run_until(hours(1))
    assert [clients for clients, _ in here.started] == [["a", "b", "c", "d", "e"]]
    here.scheduler.step()
    return here


def first_attempts(here: World) -> dict[str, str]:
    """What became of each client's first one."""
    return {run.client: run.state for run in here.runs("attempt = 1")}


def test_over_time_together_each_goes_on_alone(world: Callable[..., World]) -> None:
    """Those that were begun have their own time then; those that were not wait again; none has lost an attempt."""
    together = {"silent": {"b", "c"}, "waiting": {"d", "e"}}
    here = begun_together(world, "retries: 0, timeout: 10m", seconds=1e6, **together)
    here.silent, here.waiting = {"b"}, set()
    here.clock.now += 601
    here.scheduler.step()
    here.scheduler.step()
    assert first_attempts(here) == {"a": "done"} | dict.fromkeys("bcde", "running")
    assert sorted(clients for clients, _ in here.started[1:]) == [["b"], ["c"], ["d", "e"]]
    assert not here.notices
    here.scheduler.step()
    here.clock.now += 601
    here.scheduler.step()
    here.scheduler.step()
    assert first_attempts(here) == dict.fromkeys("acde", "done") | {"b": "timeout"}
    assert [(notice.client, notice.state) for notice in here.notices] == [("b", "timeout")]
    assert not here.runs("attempt > 1")


def test_the_last_of_many_that_hangs_has_had_its_time(world: Callable[..., World]) -> None:
    """Where all others are done, it was alone: it is not given its time once more."""
    here = begun_together(world, "retries: 0, timeout: 10m", seconds=1e6, silent={"b"})
    here.clock.now += 601
    here.scheduler.step()
    here.scheduler.step()
    assert first_attempts(here) == dict.fromkeys("acde", "done") | {"b": "timeout"}


def test_over_time_before_any_was_begun_is_tried_again(world: Callable[..., World]) -> None:
    """A cluster that has no room for hours is no client's fault."""
    here = begun_together(world, "retries: 1, retry_delay: 1m, timeout: 10m", seconds=1e6, mute=True, silent={"none"})
    here.dispatcher.running[0].results.write_text('{"event": "launched"}\n')
    here.scheduler.step()
    here.clock.now += 601
    here.scheduler.step()
    here.scheduler.step()
    assert first_attempts(here) == dict.fromkeys("abcde", "lost")
    assert len(here.runs("state = 'queued' AND attempt = 2")) == 5
    assert not here.notices


def test_together_each_word_of_the_job_gives_it_time(world: Callable[..., World]) -> None:
    """A thousand clients may take longer than one may: as long as some are begun or done."""
    here = begun_together(world, "retries: 0, timeout: 10m", seconds=1e6, silent={"b"})
    for word in ("one", "two", "three"):
        here.clock.now += 500
        with here.dispatcher.running[0].results.open("a") as results:
            results.write(f'{{"event": "begun", "client_id": "{word}"}}\n')
        here.scheduler.step()
        assert first_attempts(here)["b"] == "running"
    here.clock.now += 601
    here.scheduler.step()
    assert here.dispatcher.running[0].stopping == "timeout"


def test_killed_together_only_the_begun_have_lost_an_attempt(world: Callable[..., World]) -> None:
    """The last attempt is one alone: it may have been another client that has cost all the others."""
    killed = {"exit_code": 128 + signal.SIGKILL, "silent": {"b", "c"}, "waiting": {"d", "e"}}
    here = begun_together(world, "retries: 2, retry_delay: 1m", seconds=5.0, **killed)
    here.run_until(hours(1.003))
    assert first_attempts(here) == {"a": "done", "b": "lost", "c": "lost", "d": "done", "e": "done"}
    assert [clients for clients, _ in here.started[1:]] == [["d", "e"]]
    here.run_until(hours(1.9))
    again = [clients for clients, _ in here.started[2:]]
    assert sorted(client for clients in again for client in clients) == ["b", "b", "c", "c"]
    assert sorted(again[-2:]) == [["b"], ["c"]]
    assert not here.runs("client IN ('d', 'e') AND attempt > 1")


def test_what_is_lost_together_is_tried_again_in_halves(world: Callable[..., World]) -> None:
    """One of many that costs all the others is soon among few, and those that share nothing with it are done."""
    clients = [f"c{number}" for number in range(40)]
    lines = [f"{client}: {{timezone: UTC, {HOURLY.replace('retries: 2', 'retries: 4')}}}" for client in clients]
    here = world(configuration(lines), seconds=5.0).start()
    here.deadly = {"c7"}
    here.run_until(hours(1.9))
    sizes = [len(together) for together, _ in here.started if "c7" in together]
    assert sizes[0] == 40
    assert sizes[-1] == 1
    assert all(later <= earlier * 0.75 for earlier, later in pairwise(sizes))
    states = {run.client: run.state for run in here.runs()}
    assert states.pop("c7") == "lost"
    assert set(states.values()) == {"done"}


def test_killed_before_it_has_begun_each_has_lost_an_attempt(world: Callable[..., World]) -> None:
    """Else what dies at its start would be started for ever."""
    killed = {"exit_code": 128 + signal.SIGKILL, "mute": True}
    here = begun_together(world, "retries: 1, retry_delay: 1m", seconds=5.0, **killed)
    here.run_until(hours(1.05))
    assert first_attempts(here) == dict.fromkeys("abcde", "lost")
    assert sorted(clients for clients, _ in here.started[1:]) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_an_older_history_is_read(tmp_path: Path) -> None:
    """It gets the columns that it lacks, and keeps its runs."""
    file = tmp_path / "history.db"
    history = History(file)
    history.add(ClientId("a"), "predict", Day("2026-01-01"), START.isoformat(), "schedule")
    for name in ("alone", "unnotified", "parts"):
        history._db.execute(f"ALTER TABLE runs DROP COLUMN {name}")
    history.close()
    history = History(file)
    assert [(run.alone, run.unnotified, run.parts) for run in history.runs()] == [(False, None, 1)]
    history.close()


@pytest.mark.parametrize("jump", [5 * 3600, -5 * 3600, 365 * 86400])
def test_a_clock_that_jumps_ends_nothing_and_doubles_nothing(world: Callable[..., World], jump: float) -> None:
    """What runs has the time that it was given, by time that passes; each due time is started once."""
    line = f"x: {{timezone: UTC, {HOURLY.replace('retries', 'timeout: 10m, retries')}}}"
    here = world(configuration([line]), seconds=1e9).start()
    here.run_until(hours(1))
    here.clock.now += 100
    here.jump(jump)
    here.scheduler.step()
    assert [run.state for run in here.runs("scheduled_for < '2026-01-01T01:30'")] == ["running"]
    assert not here.notices
    here.clock.now += 499
    here.scheduler.step()
    assert [run.state for run in here.runs("started IS NOT NULL")] == ["running"]
    here.clock.now += 2
    here.scheduler.step()
    here.scheduler.step()
    assert [run.state for run in here.runs("scheduled_for < '2026-01-01T01:30'")] == ["timeout"]
    here.seconds = 0.0
    here.run_until(max(hours(3), datetime.fromtimestamp(here.clock.now, UTC)))
    times = [run.scheduled_for for run in here.runs("attempt = 1")]
    assert len(times) == len(set(times))


def test_a_run_that_ended_unseen_is_tried_again(world: Callable[..., World]) -> None:
    """After a crash, a run that was under way is lost, and tried again; one that said its result is done."""
    lines = [f"{client}: {{timezone: UTC, {HOURLY}}}" for client in ("silent", "told")]
    here = world(configuration(lines), seconds=1e6).start()
    here.run_until(hours(1))
    (run,) = here.runs("client = 'told'")
    results = here.state.results(str(run.application))
    lines = [line for line in results.read_text().splitlines(True) if '"told"' in line or '"begun"' in line]
    results.write_text("".join(lines) + '{"clie')
    here.stop()
    here.clock.now += 60
    here.seconds = 1.0
    here.start().run_until(hours(1.9))
    assert [run.state for run in here.runs("client = 'told'")] == ["done"]
    assert [run.state for run in here.runs("client = 'silent'")] == ["lost", "done"]


def test_a_run_that_was_never_let_begin_is_no_attempt(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its child was written down, the scheduler starts the run anew, though it has no retries."""
    line = f"x: {{timezone: UTC, {HOURLY.replace('retries: 2', 'retries: 0')}}}"
    here = world(configuration([line]), seconds=1.0).start()

    def killed(history: History, run_ids: Sequence[int], **values: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:  # in the moment after the child was started
        patched.setattr(History, "update", killed)
        with pytest.raises(SystemExit):
            here.run_until(hours(1))
    here.stop()
    assert len(here.started) == 1
    here.start().run_until(hours(1.5))
    assert len(here.started) == 2
    assert [(run.attempt, run.state) for run in here.runs()] == [(1, "done")]


DRIFTING = "{train: {schedule: 0 0 1 1 *}, predict: {schedule: 0 6 * * *}, timezone: UTC, drift: {train: true}}"


def days_trained(world: World) -> list[str]:
    """The days on which client a was trained."""
    return [run.day for run in world.runs("client = 'a' AND job = 'train' AND started IS NOT NULL")]


def test_a_drift_trains_where_it_is_asked_for(world: Callable[..., World]) -> None:
    """Once in as many predictions as a drift is told from, by the predictions that tell of it, and not by default."""
    running = world(
        configuration([f"a: {DRIFTING}", f"b: {DRIFTING.replace('train: true', 'psi: 0.2')}"]),
        seconds=60,
        drifted=lambda client, now: now >= START.timestamp() + 10 * 86400,
    ).start()
    running.run_until(START + timedelta(days=18, hours=12))
    assert days_trained(running) == ["2026-01-11", "2026-01-14", "2026-01-17"]
    assert not running.runs("client = 'b' AND job = 'train'")
    running.history.pause("a", "train", "now")
    running.run_until(START + timedelta(days=25))
    assert days_trained(running) == ["2026-01-11", "2026-01-14", "2026-01-17"]


def test_a_new_client_is_trained_before_its_first_prediction(world: Callable[..., World]) -> None:
    """Once, by its first due prediction, which waits for it and loses no attempt; and no notice is given."""
    later = "{train: {schedule: 0 0 28 * *}}"
    running = world(configuration([f"a: {later}", f"b: {later}"]), seconds=60, untrained={"a"}).start()
    running.run_until(START + timedelta(days=2, hours=12))
    found = [(run.client, run.job, run.day, run.state, run.attempt) for run in running.runs("started IS NOT NULL")]
    first = found[0][2]
    assert found.count(("a", "train", first, "done", 1)) == 1
    assert [one for one in found if one[1] == "train"] == [("a", "train", first, "done", 1)]
    predicted = [one for one in found if one[:2] == ("a", "predict")]
    assert predicted
    assert {one[3:] for one in predicted} == {("done", 1)}
    (training,) = running.runs("job = 'train' AND started IS NOT NULL")
    (prediction,) = running.runs(f"client = 'a' AND job = 'predict' AND day = '{first}'")
    assert training.ended <= prediction.started
    assert not running.notices


@pytest.mark.parametrize("same_time", [True, False])
def test_cron_does_not_wait_for_a_scheduler_that_is_gone(world: Callable[..., World], same_time: bool) -> None:
    """A training that only a scheduler would start holds no prediction of cron's, nor starts it again and again."""
    here = world(configuration(["a: {}"])).start()
    at, client, day = START.isoformat(), ClientId("a"), Day("2026-01-01")
    here.history.add(client, "train", day, at if same_time else (START - timedelta(days=1)).isoformat(), "schedule")
    run = here.history.add(client, "predict", day, at, "cron", "running")
    assert run
    here.history.update([run.id], state="failed", exit_code=1, started=at, ended=at)
    trainings.train_first(here.history, here.scheduler.fleet, run, 0.0)
    (state,) = {one.state for one in here.history.runs() if one.id == run.id}
    own = here.runs("job = 'train' AND trigger = 'cron'")
    assert (state, len(own)) == (("failed", 0) if same_time else ("queued", 1))
    assert (run.id in trainings.waiting_predictions(here.history.unfinished())) == (not same_time)


def test_what_a_scheduler_has_queued_holds_no_line_of_cron(world: Callable[..., World]) -> None:
    """Though it is due at the same time: the scheduler may be gone. While it runs, the prediction goes behind it."""
    here = world(configuration(["a: {}"])).start()
    at, client, day = START.isoformat(), ClientId("a"), Day("2026-01-01")
    training = here.history.add(client, "train", day, at, "schedule")
    prediction = here.history.add(client, "predict", day, at, "cron")
    assert training
    assert prediction
    assert trainings.waiting_predictions(here.history.unfinished()) == set()
    here.history.update([training.id], state="running")
    assert trainings.waiting_predictions(here.history.unfinished()) == {prediction.id}


@pytest.mark.parametrize("said", ["train: {first: false, schedule: 0 0 28 * *}", "train: {enabled: false}"])
def test_no_first_training_where_none_is_asked_for(world: Callable[..., World], said: str) -> None:
    """The prediction fails as before, with a notice."""
    running = world(configuration([f"a: {{{said}}}"]), seconds=60, untrained={"a"}).start()
    running.run_until(START + timedelta(days=1, hours=12))
    assert not running.runs("job = 'train' AND started IS NOT NULL")
    assert {run.state for run in running.runs("job = 'predict' AND started IS NOT NULL")} == {"failed"}
    assert running.notices


def test_a_first_training_that_fails_fails_the_prediction(world: Callable[..., World]) -> None:
    """It is trained once a time that it is due, the prediction does not wait for ever, and both tell."""
    failing = lambda client, attempt: 1  # noqa: E731 - as the world takes it
    later = "{train: {schedule: 0 0 28 * *}}"
    running = world(configuration([f"a: {later}"]), seconds=60, untrained={"a"}, code=failing).start()
    running.run_until(START + timedelta(days=1, hours=12))
    days = {run.day for run in running.runs("job = 'predict' AND started IS NOT NULL")}
    trained = running.runs("job = 'train' AND started IS NOT NULL")
    assert sorted(run.day for run in trained) == sorted(days)
    assert {run.state for run in running.runs("started IS NOT NULL")} == {"failed"}
    assert not running.runs("state = 'queued'")


def test_training_and_prediction_of_a_minute_go_in_that_order(world: Callable[..., World]) -> None:
    """What is trained at three is used at three; another client's prediction waits for nothing."""
    times = "{schedule: 0 3 * * *}"
    running = world(
        configuration(
            [f"a: {{train: {times}, predict: {times}}}", f"b: {{train: {{enabled: false}}, predict: {times}}}"]
        ),
        seconds=600,
    ).start()
    running.run_until(START + timedelta(days=1, hours=12))
    trained = running.runs("client = 'a' AND job = 'train' AND started IS NOT NULL")
    predicted = {run.scheduled_for: run for run in running.runs("client = 'a' AND job = 'predict'")}
    others = {run.scheduled_for: run for run in running.runs("client = 'b' AND job = 'predict'")}
    assert trained
    for training in trained:
        assert training.ended <= predicted[training.scheduled_for].started
        assert others[training.scheduled_for].started < training.ended
