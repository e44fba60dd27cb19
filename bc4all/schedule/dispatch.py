"""From queued runs to finished ones: start them as applications, watch them, retry, and say what became of them.

The scheduler uses this for what is due, `bc4all run-now` and cron's lines for their own runs. What is due is not
decided here.
"""

import contextlib
import logging
import os
import random
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bc4all.config.clients import Fleet
from bc4all.errors import EXIT_TRANSIENT
from bc4all.schedule import trainings
from bc4all.schedule.by_hand import take_in
from bc4all.schedule.child import Child, Order, cap, uptime
from bc4all.schedule.history import BACKFILL, FAILED, SCHEDULED, History, Run, iso
from bc4all.schedule.notices import Notice
from bc4all.schedule.verdict import retry_in, verdict
from bc4all.starter import Report, read_report
from bc4all.state import State

log = logging.getLogger(__name__)

_KILL_AFTER_S = 15.0  # seconds that a job has to end after TERM
_LOOK_S = 30.0  # seconds between two looks for runs whose process is gone
_ABANDONED_AFTER_S = 3600.0  # seconds after which no process retries it
# Of a retry's delay: applications that failed together do not come back together, their clients do.
_JITTER = (0.5, 1.5)


class Process(Protocol):
    """What is needed of a `child.Child`."""

    mark: str
    pid: int
    started: float

    def go(self) -> None: ...

    @property
    def ended(self) -> bool: ...

    @property
    def exit_code(self) -> int | None: ...

    def signal(self, number: int) -> int: ...

    def kill(self) -> int: ...

    def clear(self) -> None: ...


@dataclass
class Application:
    """A running child and the runs that it does."""

    runs: list[Run]
    child: Process
    log: Path
    results: Path
    timeout: float  # seconds
    deadline: float  # by the dispatcher's timer, as kill_at
    reported: int = 0  # bytes of its results
    stopping: str = ""  # timeout or stopped, once it was told to end
    kill_at: float = 0.0

    def extend(self, now: float) -> None:
        """Give one of several clients its time anew whenever it has begun with some, or is done with one."""
        with contextlib.suppress(FileNotFoundError):
            file = self.results.stat()
            if file.st_size > self.reported and len(self.runs) > 1:
                # Since when, tells the file: a scheduler that has just started did not see it grow.
                self.deadline = max(self.deadline, now - max(0.0, time.time() - file.st_mtime) + self.timeout)
                self.reported = file.st_size

    def stop(self, why: str, now: float) -> None:
        """Tell it to end, and when it will be killed."""
        self.stopping, self.kill_at = why, now + _KILL_AFTER_S
        self.child.signal(signal.SIGTERM)


class Dispatcher:
    """Starts and watches the runs that `owns` claims; others, of other processes, are left alone."""

    def __init__(
        self,
        state: State,
        history: History,
        command: Callable[[Fleet, Sequence[Run]], list[str]],
        spawn: Callable[[Order], Process],
        owns: Callable[[Run], bool],
        notify: Callable[[Notice], None],
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = uptime,
    ) -> None:
        """`clock` tells the time of day, for what is due; `timer` how long something has run."""
        self._state, self._history, self._command, self._spawn = state, history, command, spawn
        self._owns, self._notify, self._clock, self._timer = owns, notify, clock, timer
        self.running: list[Application] = []
        self._looked = float("-inf")

    def adopt(self, fleet: Fleet) -> None:
        """Take over the runs that a process before this one left running; those that ended unseen are finished."""
        left: dict[str, list[Run]] = {}
        for run in self._history.in_state("running"):
            if self._owns(run):
                left.setdefault(str(run.application), []).append(run)
        for name, runs in left.items():
            child = Child(_mark(self._state, name), runs[0].pid or 0, runs[0].pid_started or 0.0)
            log.info("%s: %s", name, "ended unseen" if child.ended else "still running: taken over")
            log_file = self._state.recorded_log(str(runs[0].log))
            self.running.append(_application(fleet, runs, child, log_file, self._state.results(name)))

    def start(self, fleet: Fleet) -> None:
        """Start what is queued, as far as there is room: the longest due first, never two of a client's job at once."""
        slot = self._state.slot(fleet.scheduler.max_parallel)
        if slot is None:  # many processes may wait for a place: none reads the whole history for that
            return
        try:
            for runs in self._ready(fleet, self._clock()):
                slot = self._state.slot(fleet.scheduler.max_parallel) if slot is None else slot
                if slot is None:
                    return
                self._launch(fleet, runs, slot, self._clock())
                os.close(slot)  # the child has it, and keeps the place
                slot = None
        finally:
            if slot is not None:
                os.close(slot)

    def _ready(self, fleet: Fleet, now: float) -> Iterable[list[Run]]:
        """Return the runs that may be started, an application's together."""
        timer = self._timer()
        if timer - self._looked > _LOOK_S:  # else what was killed meanwhile would be running for ever
            self._looked = timer
            take_in(self._state, self._history)
            finish_orphans(self._state, self._history, now)
        running, queued = self._history.in_state("running"), self._history.in_state("queued")
        busy = {(run.client, run.job) for run in running}
        waiting = trainings.waiting_predictions([*running, *queued])
        groups: dict[tuple[object, ...], list[Run]] = {}
        for run in queued:
            if not self._owns(run) or run.not_before > now or (run.client, run.job) in busy or run.id in waiting:
                continue
            client = fleet.clients.get(run.client)
            if client is None:
                self._history.update([run.id], state="missed", error="the configuration has no such client any more")
                continue
            busy.add((run.client, run.job))
            shared = (run.job, run.day, run.scheduled_for, run.attempt, run.trigger, _part(run))
            alone = run.alone or not client.timing(run.job).batch
            groups.setdefault((*shared, run.client) if alone else shared, []).append(run)
        return groups.values()

    def _launch(self, fleet: Fleet, runs: list[Run], slot: int, now: float) -> None:
        """Start one application. Its gate opens when the process is written down: until then the runs are queued."""
        name = f"{runs[0].job}-{runs[0].id}"
        output = self._state.run_log(runs[0].client if len(runs) == 1 else None, name)
        results = self._state.results(name)
        begun = {"state": "running", "application": name, "log": str(output), "started": iso(now)}
        try:
            with self._history.transaction():
                # Another process may have started some since this one has looked.
                now_there = [self._history.get(run.id) for run in runs]
                runs = [run for run in now_there if run and run.state == "queued"]
                if not runs:
                    return
                ids = [run.id for run in runs]
                command = self._command(fleet, runs)
                results.unlink(missing_ok=True)  # of an application before it, of the same name
                child = self._spawn(Order(command, _mark(self._state, name), output, results, slot))
                self._history.update(ids, pid=child.pid, pid_started=child.started, **begun)
        except OSError as error:
            failed = {"state": "failed", "exit_code": EXIT_TRANSIENT, "ended": iso(now), "error": str(error)}
            self._history.update(ids, **failed)
            self._follow_up(fleet, runs, now)
            return
        child.go()
        log.info("%s: started for %s (process %d)", name, _names(runs), child.pid)
        self.running.append(_application(fleet, runs, child, output, results))

    def reap(self, fleet: Fleet) -> None:
        """Finish what has ended, and end what has run too long."""
        now = self._timer()
        for application in list(self.running):
            application.extend(now)
            if application.child.ended:
                self.running.remove(application)
                self._finish(fleet, application, self._clock())
            elif application.stopping and now >= application.kill_at:
                log.warning("%s: did not end: killed", _names(application.runs))
                application.child.kill()
            elif not application.stopping and now >= application.deadline:
                log.warning("%s: over its timeout: told to end", _names(application.runs))
                application.stop("timeout", now)
            else:
                cap(application.log, fleet.scheduler.log_bytes)

    def stop(self) -> None:
        """Tell everything that runs to end."""
        for application in self.running:
            if not application.stopping:
                application.stop("stopped", self._timer())

    def forget(self, before: float) -> None:
        """Delete the runs that ended before a time, in seconds since 1970, and their logs."""
        for log_file in self._history.forget(iso(before)):
            self._state.recorded_log(log_file).unlink(missing_ok=True)

    def _finish(self, fleet: Fleet, application: Application, now: float) -> None:
        application.child.kill()  # whatever it left behind
        application.child.clear()
        report, code = read_report(application.results), application.child.exit_code
        with self._history.transaction():
            for run in application.runs:
                self._history.update([run.id], **verdict(run, report, code, application.stopping, now))
                result = report.results.get(run.client, {})
                if result.get("drifted"):
                    trainings.train_drifted(self._history, fleet, run, now)
                if result.get("untrained"):
                    trainings.train_first(self._history, fleet, run, now)
        application.results.unlink(missing_ok=True)
        self._follow_up(fleet, application.runs, now)

    def _follow_up(self, fleet: Fleet, runs: Sequence[Run], now: float) -> None:
        """Queue retries, and give notice of what failed for good or is well again."""
        jitter = random.uniform(*_JITTER)  # noqa: S311 # nosec B311 # not a secret
        for before in runs:
            run = self._history.get(before.id)
            if run is None:
                continue
            log.info(
                "%s: %s of %s: %s%s", run.client, run.job, run.day, run.state, f": {run.error}" if run.error else ""
            )
            delay = retry_in(fleet, run)
            if delay is not None:
                # It may have been another's fault that all were lost: in halves, then, and the last time alone.
                is_last, lost = run.attempt == fleet.clients[run.client].timing(run.job).retries, run.state == "lost"
                self._history.add(
                    *(run.client, run.job, run.day, run.scheduled_for, run.trigger),
                    attempt=run.attempt + 1,
                    not_before=now + delay * jitter,
                    parts=run.parts * 2 if lost else run.parts,
                    alone=run.alone or (lost and is_last),
                )
            elif run.state == "queued":
                continue
            elif run.trigger in ("manual", BACKFILL):
                continue  # its starter is looking
            elif run.state in FAILED:
                self._notify(Notice.of(run, "failed"))
            elif self._history.failed_before(run):
                self._notify(Notice.of(run, "recovered"))


def _part(run: Run) -> int:
    """Return to which of its parts a run belongs: drawn from the client's id, and so always the same half of a half."""
    return zlib.crc32(run.client.encode()) % run.parts


def _mark(state: State, name: str) -> str:
    return f"{state.folder}:{name}"


def finish_orphans(state: State, history: History, now: float) -> None:
    """Finish the runs that cron or a person started and whose processes are gone."""
    for run in history.unfinished():
        if run.trigger in SCHEDULED or (run.pid and not Child("", run.pid, run.pid_started or 0.0).ended):
            continue
        if run.state == "running":
            report = read_report(state.results(str(run.application)))
            Child(_mark(state, str(run.application)), 0, 0.0).clear()
            history.finish(run, **verdict(run, Report(results=report.results), None, "", now))
        elif run.pid or run.not_before < now - _ABANDONED_AFTER_S:
            history.update([run.id], state="stopped", error="who started it went away")


def _application(fleet: Fleet, runs: list[Run], child: Process, output: Path, results: Path) -> Application:
    """Return one that runs, with the longest timeout of its runs."""
    known = [fleet.clients[run.client].timing(run.job).timeout for run in runs if run.client in fleet.clients]
    timeout = max(known, default=0)
    return Application(runs, child, output, results, timeout, child.started + timeout)


def _names(runs: Sequence[Run]) -> str:
    shown = ", ".join(run.client for run in runs[:5])
    return f"{shown} and {len(runs) - 5} more" if len(runs) > 5 else shown
