"""The standalone scheduler: starts every client's jobs on time, from one configuration, until it is told to stop.

`step` does all that is due and returns; `serve` calls it again and again. What a step decides is written to the history
in one transaction together with how far it has looked, so that after any end of the process nothing is lost or doubled.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bc4all.config.clients import Fleet
from bc4all.config.timing import Timing
from bc4all.errors import EXIT_OK, ConfigurationError
from bc4all.schedule.agenda import Agenda, Due, Key, due_timings
from bc4all.schedule.dispatch import Dispatcher
from bc4all.schedule.history import SCHEDULED, History, iso

log = logging.getLogger(__name__)

_STEP_S = 1.0  # seconds between two steps: what runs is watched, a changed file is seen
_DAY = 86400.0


class Scheduler:
    """Decides what is due and hands it to the dispatcher. `load` reads the configuration anew."""

    def __init__(
        self,
        load: Callable[[], Fleet],
        history: History,
        dispatcher: Dispatcher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._load, self._history, self._dispatcher, self._clock = load, history, dispatcher, clock
        self.fleet = load()
        self.valid = True  # whether the file, as it is now, is the one in force
        self._pauses = history.pauses()
        self._cleaned = 0.0
        self._timings: dict[Key, Timing] = {}
        self._changed = True  # whether the history's agenda is another
        self._agenda = Agenda()
        since = history.last_tick
        self._take_over(history.agenda(), datetime.fromtimestamp(since, UTC) if since else None)
        dispatcher.adopt(self.fleet)

    def step(self, start: bool = True) -> None:
        """Note what is due, finish what has ended, start what there is room for (unless `start` is False)."""
        now = self._clock()
        pauses = self._history.pauses()
        if pauses != self._pauses:
            self._pauses = pauses
            self._take_over()
        if start:
            with self._history.transaction():
                if self._changed:
                    self._write_agenda()
                for due in self._agenda.due(datetime.fromtimestamp(now, UTC)):
                    self._note(due)
                self._history.ticked(now)
        self._dispatcher.reap(self.fleet)
        if start:
            self._dispatcher.start(self.fleet)
            self._clean_up(now)

    def reload(self) -> None:
        """Take the configuration over as it is now; a broken one is told, and the old one stays in force."""
        try:
            self.fleet = self._load()
        except (ConfigurationError, OSError) as error:
            self.valid = False
            log.error("the configuration is broken, the one before stays in force:\n%s", error)  # noqa: TRY400 - foreseen
            return
        self.valid = True
        self._take_over()
        log.info("the configuration is in force: %d clients enabled", len(self.fleet.enabled))

    @property
    def next(self) -> datetime | None:
        """When something is due again."""
        return self._agenda.next

    def _take_over(self, known: dict[Key, str] | None = None, since: datetime | None = None) -> None:
        self._timings = dict(due_timings(self.fleet.clients.values(), self._pauses))
        self._agenda.replace(self._timings, datetime.fromtimestamp(self._clock(), UTC), known, since)
        self._changed = True

    def _write_agenda(self) -> None:
        """Remember the times in force, and let go what waited for its turn and is enabled no more."""
        self._history.set_agenda(self._agenda.keys)
        for run in self._history.in_state("queued"):
            if run.trigger in SCHEDULED and (run.client, run.job) not in self._timings:
                self._history.update([run.id], state="missed", error="paused, or not enabled any more")
        self._changed = False

    def _note(self, due: Due) -> None:
        """Write a due run down. One that still waits for its turn is overtaken by it, unless all are caught up with."""
        at = iso(due.at.timestamp())
        if due.wanted and due.timing.catch_up != "all":
            overtaken = self._history.waiting(due.client, due.job)
            if overtaken:
                self._history.update([run.id for run in overtaken], state="missed", error=f"overtaken by that of {at}")
        state = "queued" if due.wanted else "missed"
        self._history.add(due.client, due.job, due.timing.day(due.at), at, due.trigger, state)

    def _clean_up(self, now: float) -> None:
        """Once a day, forget runs and logs that are older than the configuration wants them kept."""
        if now - self._cleaned < _DAY:
            return
        self._cleaned = now
        self._dispatcher.forget(now - self.fleet.keep.history)


class Signals:
    """What the process is told while it runs: HUP to reload; TERM or Ctrl-C once to finish, twice to stop at once."""

    def __init__(self) -> None:
        self.reload = False
        self.stops = 0
        self._woken = threading.Event()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stops += 1
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Sleep, unless a signal comes."""
        self._woken.wait(seconds)
        self._woken.clear()


def serve(scheduler: Scheduler, dispatcher: Dispatcher, signals: Signals, after_step: Callable[[], None]) -> int:
    """Work until TERM; then wait for what runs, up to `grace`, or until a second TERM; then end it."""
    file = scheduler.fleet.path
    seen = _stamp(file)
    log.info("%d clients enabled in %s; next due: %s", len(scheduler.fleet.enabled), file, scheduler.next or "nothing")
    while not signals.stops:
        if signals.reload or _stamp(file) != seen:
            seen, signals.reload = _stamp(file), False
            scheduler.reload()
        scheduler.step()
        after_step()
        signals.wait(_STEP_S)
    give_up = time.monotonic() + scheduler.fleet.scheduler.grace
    log.info("stopping: nothing new is started, %d applications are waited for", len(dispatcher.running))
    while dispatcher.running:
        if signals.stops > 1 or time.monotonic() > give_up:
            dispatcher.stop()
        scheduler.step(start=False)
        after_step()
        if dispatcher.running:
            signals.wait(_STEP_S / 4)
    log.info("stopped")
    return EXIT_OK


def _stamp(file: Path) -> tuple[float, int]:
    """Return what changes when a file does; an editor may have it away for a moment."""
    with contextlib.suppress(OSError):
        status = file.stat()
        return status.st_mtime, status.st_ino
    return 0.0, 0
