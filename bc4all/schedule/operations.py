"""What people and cron do with runs: start one now, or run the scheduler. Each run is in the history."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType

import psutil

from bc4all.config.clients import Fleet
from bc4all.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINAL, EXIT_TRANSIENT, ConfigurationError
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import JOB_KINDS, TRAIN
from bc4all.layout import Layout
from bc4all.project import SUBMIT
from bc4all.schedule.by_hand import take_in
from bc4all.schedule.child import Child, cap, started_at
from bc4all.schedule.dispatch import Dispatcher, finish_orphans
from bc4all.schedule.health import HealthServer
from bc4all.schedule.history import BACKFILL, FAILED, SCHEDULED, History, Run
from bc4all.schedule.notices import Notice, Notifier
from bc4all.schedule.punctuality import Expectations
from bc4all.schedule.scheduler import Scheduler, Signals, serve
from bc4all.schedule.snapshot import Records, Snapshot
from bc4all.state import State
from bc4all.variables import DATA_PREFIX, HEALTH_TOKEN, LOG_FORM, STATE_FOLDER

_COUNT = 10.0  # seconds between two counts of the history
_POLL_S = 0.25  # seconds between two looks at a job
_WAIT_S = 1.0  # and between two for a place to start one: many may wait


@dataclass(frozen=True)
class Operations:
    """The state and history of the jobs on one layout."""

    layout: Layout
    state: State
    history: History
    program: Path = SUBMIT  # what a job is started by

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator["Operations"]:
        """Those of $DATA_PREFIX, closed at the end."""
        layout = Layout.from_environment()
        state = State.from_environment(layout)
        history = History(state.history)
        try:
            take_in(state, history)
            finish_orphans(state, history, time.time())
            yield cls(layout, state, history)
        finally:
            history.close()

    def dispatcher(
        self, owns: Callable[[Run], bool], notifier: Callable[[Notice], None], clock: Callable[[], float] = time.time
    ) -> Dispatcher:
        """Return a dispatcher of real processes."""

        def command(fleet: Fleet, runs: Sequence[Run]) -> list[str]:
            kind, clients = JOB_KINDS[runs[0].job], [word for run in runs for word in ("--client-id", run.client)]
            asked = [*clients, "--config", str(fleet.path.resolve()), kind.date_option, runs[0].day]
            today = fleet.clients[runs[0].client].timing(kind.name).day(datetime.now(UTC))
            late = ["--backfilled"] if runs[0].trigger == BACKFILL and runs[0].day < today else []
            return [str(self.program), kind.name, *asked, *late, "--", *fleet.scheduler.spark_options]

        # As JSON each event says whose it is, also where several clients share an application.
        told = {DATA_PREFIX: self.layout.prefix, STATE_FOLDER: str(self.state.folder), LOG_FORM: "json"}
        spawned: Mapping[str, str] = {**os.environ, **told}
        spawn = partial(Child.start, environment=spawned)
        return Dispatcher(self.state, self.history, command, spawn, owns, notifier, clock)

    def run_now(
        self,
        fleet: Fleet,
        job: str,
        days: Mapping[ClientId, Day],
        trigger: str,
        say: Callable[[str], None],
        moment: datetime,
        not_before: float = 0.0,
    ) -> int:
        """Run a job for some clients (each with its day), watch over it, and return its exit code.

        Waits for room where `max_parallel` applications run. `moment` is when it is due, in UTC: of cron, the minute of
        its line. Nothing is started before `not_before`, in seconds since 1970. A run of that moment that is in the
        history already, because the scheduler was told to start it, too, is left to it. Ctrl-C and TERM end what was
        started.
        """
        at = moment.isoformat()
        me = psutil.Process()
        with self.history.transaction():
            added = [
                self.history.add(client_id, job, day, at, trigger, not_before=not_before)
                for client_id, day in days.items()
            ]
            mine = [run for run in added if run]
            self.history.update([run.id for run in mine], pid=me.pid, pid_started=started_at(me))
        for client_id in days.keys() - {run.client for run in mine}:
            say(f"{client_id}: {job} of {at} is noted already: left to what has noted it")
        notifier = Notifier(fleet.scheduler)
        clients, followed = {run.client for run in mine}, set[int]()

        def owns(run: Run) -> bool:
            """Return whether a run is one of these, a retry of one, or a training of a client that has drifted."""
            if (run.scheduled_for, run.trigger) != (at, trigger) or run.client not in clients:
                return False
            # A training may also be another process's, of a line of the same minute: that has claimed it.
            if run.job == TRAIN.name and run.state == "queued" and run.pid in (None, me.pid):
                followed.add(run.id)
            return run.job == job or run.id in followed

        dispatcher = self.dispatcher(owns, notifier)
        try:
            with _told_to_stop() as stop:
                return self._watch(fleet, dispatcher, owns, at, say, stop)
        finally:
            notifier.close()
            self._note_undelivered(notifier)
            dispatcher.forget(time.time() - fleet.keep.history)

    def _watch(
        self,
        fleet: Fleet,
        dispatcher: Dispatcher,
        owns: Callable[[Run], bool],
        at: str,
        say: Callable[[str], None],
        stop: threading.Event,
    ) -> int:
        """Work until every run that is owned, retries included, has ended, or until `stop` is set."""
        me = psutil.Process()
        told: set[tuple[int, str, str | None]] = set()
        while True:
            dispatcher.reap(fleet)
            if stop.is_set():
                dispatcher.stop()
            else:
                dispatcher.start(fleet)
            runs = [run for run in self.history.due_at(at) if owns(run)]
            self.history.claim(me.pid, started_at(me), runs)
            for run in runs:
                news = (run.id, run.state, run.started)
                if news not in told and (run.state != "queued" or run.note):
                    told.add(news)
                    say(_told(run))
            waiting = [run.id for run in runs if run.state == "queued"]
            if not dispatcher.running and (stop.is_set() or not waiting):
                break
            time.sleep(_POLL_S if dispatcher.running else _WAIT_S)
        self.history.update(waiting, state="stopped", error="interrupted before it was started")
        final = {(run.client, run.job): run for run in runs}
        return EXIT_INTERRUPTED if stop.is_set() else _exit_code(list(final.values()))

    def backfill(self, fleet: Fleet, client_id: ClientId, first: date, last: date, say: Callable[[str], None]) -> int:
        """Predict the dates from `first` to `last` that are not published, until one fails; return its exit code."""
        from bc4all.data.published import published_days  # pyarrow's datasets, which nothing else here needs

        every = [Day((first + timedelta(days=number)).isoformat()) for number in range((last - first).days + 1)]
        days = sorted(set(every) - set(published_days(self.layout, client_id)))
        say(f"{client_id}: {len(days)} dates are missing from {first} to {last}")
        if days:
            say(f"{client_id}: what is delivered now is published for each; their manifests say `backfilled: true`")
        return self.predict_days(fleet, client_id, days, say)

    def predict_days(self, fleet: Fleet, client_id: ClientId, days: Sequence[Day], say: Callable[[str], None]) -> int:
        """Predict some dates, published or not, until one fails; return its exit code."""
        codes = (self.run_now(fleet, "predict", {client_id: day}, BACKFILL, say, datetime.now(UTC)) for day in days)
        return next((code for code in codes if code), EXIT_OK)

    def scheduler(self, load: Callable[[], Fleet], clock: Callable[[], float] = time.time) -> int:
        """Run the scheduler, by `clock`, until it is told to stop. Raises ConfigurationError where another one runs."""
        lock = self.state.only_scheduler()
        if lock is None:
            raise ConfigurationError(
                "another scheduler works on this state",
                str(self.state.folder),
                f"stop it, or set another {STATE_FOLDER}",
            )
        signals = Signals()
        notifier = Notifier(load().scheduler)
        dispatcher = self.dispatcher(lambda run: run.trigger in SCHEDULED, notifier, clock)
        scheduler = Scheduler(load, self.history, dispatcher, clock)
        settings = scheduler.fleet.scheduler
        token = os.environ.get(HEALTH_TOKEN)
        health = HealthServer(settings.host, settings.port, token) if settings.port else None
        expectations = Expectations()

        def after_step() -> None:
            notifier.settings = scheduler.fleet.scheduler
            notifier.try_again()
            self._note_undelivered(notifier)
            if health:
                before = replace(
                    health.snapshot,
                    last_tick=time.time(),
                    valid=scheduler.valid,
                    undelivered=notifier.undelivered,
                )
                health.snapshot = self._counted(before, len(dispatcher.running), scheduler.fleet, expectations)

        try:
            return serve(scheduler, dispatcher, signals, after_step)
        finally:
            notifier.close()
            self._note_undelivered(notifier)
            if health:
                health.close()
            os.close(lock)

    def _note_undelivered(self, notifier: Notifier) -> None:
        for run_id, error in notifier.news().items():
            self.history.update([run_id], unnotified=error)

    def _counted(self, snapshot: Snapshot, running: int, fleet: Fleet, expectations: Expectations) -> Snapshot:
        """Return the snapshot with so many running applications, and with the history's records where it is time."""
        now = snapshot.last_tick
        if now - snapshot.counted < _COUNT and running == snapshot.running:
            return snapshot
        records = Records.read(self.history, fleet.clients.values(), expectations, datetime.fromtimestamp(now, UTC))
        queued = sum(count for (_, state), count in records.runs.items() if state == "queued")
        return replace(snapshot, running=running, counted=now, queued=queued, records=records)


def redirect(log: Path, limit: int) -> None:
    """Let what this process prints be appended to a log of at most `limit` bytes from now on."""
    cap(log, limit)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _told(run: Run) -> str:
    about = f"{run.client}: {run.job} of {run.day}"
    if run.state == "queued":
        return f"{about} {run.note}"
    if run.state == "running":
        return f"{about} started (attempt {run.attempt}), log: {run.log}"
    seconds = f", {run.seconds:.0f} s" if run.seconds is not None else ""
    return f"{about} {run.state}{seconds}{f': {run.error}' if run.error else ''}"


def _exit_code(runs: Sequence[Run]) -> int:
    codes = {_code(run) for run in runs}
    return EXIT_TRANSIENT if EXIT_TRANSIENT in codes else max(codes, default=EXIT_OK)


def _code(run: Run) -> int:
    if run.state == "failed":
        return run.exit_code or EXIT_TERMINAL
    return EXIT_TRANSIENT if run.state in FAILED else EXIT_OK


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, TERM and HUP set; none of them interrupts what is being written."""
    stop = threading.Event()

    def receive(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
