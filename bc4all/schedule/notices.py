"""Notices: a command or a webhook is told once when a client's job has failed for good, and once when it is well again.

Delivery runs aside, several at a time, so that no slow receiver holds the scheduler up. What a receiver does not take
is held. After a few such in a row it is tried again only now and then, with all that was held in one summary.
"""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any

import requests

from bc4all.config.settings import SchedulerSettings
from bc4all.identity import ClientId, Day
from bc4all.redaction import redact
from bc4all.schedule.history import Run

log = logging.getLogger(__name__)

_RECEIVER_TIMEOUT_S = 20  # seconds for a receiver
_WORKERS = 4  # deliveries
_FAILURES_TO_HOLD = 3  # failures in a row, after which notices are kept
_HOLD_S = 300.0  # seconds after which a receiver that took none is tried again
_CLOSE_S = 60.0  # seconds for what is left at the end
_MAX_SUMMARY = 100  # notices at most in a summary
_FINAL_STATUS = (400, 404, 410, 413, 415, 422)  # HTTP's codes of what would be refused again


@dataclass(frozen=True)
class Notice:
    """What a receiver gets, as JSON. `event` is failed or recovered."""

    event: str
    run: int  # its number in the history
    client: ClientId
    job: str
    day: Day
    scheduled_for: str
    attempt: int
    state: str
    exit_code: int | None
    error: str | None
    log: str | None

    @classmethod
    def of(cls, run: Run, event: str) -> "Notice":
        """Return the notice of a finished run."""
        about = (run.id, run.client, run.job, run.day, run.scheduled_for, run.attempt)
        return cls(event, *about, run.state, run.exit_code, run.error, run.log)


class Notifier:
    """Delivers notices as the settings of the moment say."""

    def __init__(self, settings: SchedulerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock, self._lock = clock, threading.Lock()
        self._waiting: list[Notice] = []
        self._sending: list[Notice] = []
        self._took_command: set[int] = set()  # runs whose notice the command has, and the webhook has not
        self._failures, self._not_before, self._closed = 0, 0.0, False
        self._told: dict[int, str | None] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="notices")
        self._tasks: set[Future[None]] = set()

    def __call__(self, notice: Notice) -> None:
        """Deliver a notice, in the background."""
        if self.settings.notify_command or self.settings.notify_webhook:
            with self._lock:
                self._waiting.append(notice)
                if self._failures >= _FAILURES_TO_HOLD:
                    self._told[notice.run] = "held: the receiver has refused those before it"
            self._submit()

    @property
    def undelivered(self) -> int:
        """How many notices wait for a receiver that did not take the last one."""
        with self._lock:
            return len(self._waiting) if self._failures else 0

    def news(self) -> dict[int, str | None]:
        """Return, by run, what its notice came to since the last call: why it was not delivered, or None."""
        with self._lock:
            told, self._told = self._told, {}
        return told

    def try_again(self) -> None:
        """Deliver, in the background, what a receiver did not take, once it is time."""
        if self.undelivered and self._clock() >= self._not_before:
            self._submit()

    def close(self) -> None:
        """Try what was held once more, and wait for what is under way, as long as there is time."""
        with self._lock:
            self._not_before = 0.0
        self._submit()
        self._pool.shutdown(wait=False)
        wait(self._tasks, _CLOSE_S)
        with self._lock:
            self._closed = True
            left = [*self._waiting, *self._sending]
            self._told |= {notice.run: self._told.get(notice.run) or "no time was left to send it" for notice in left}
        if left:
            log.warning("%d notices were not delivered", len(left))

    def _submit(self) -> None:
        task = self._pool.submit(self._deliver)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _deliver(self) -> None:
        while self._deliver_next():
            continue

    def _deliver_next(self) -> bool:
        """Deliver one notice that waits; where the last ones failed, many together, once it is time.

        Return whether to go on.
        """
        with self._lock:
            held = self._failures >= _FAILURES_TO_HOLD
            if not self._waiting or self._closed or (held and self._clock() < self._not_before):
                return False
            count = _MAX_SUMMARY if held else 1
            notices, self._waiting = self._waiting[:count], self._waiting[count:]
            self._sending += notices
        error, is_final = self._send(notices)
        with self._lock:
            self._sending = [one for one in self._sending if one not in notices]
            self._told |= {notice.run: error for notice in notices}
            if error is None or is_final:  # a refused summary is sent one by one, a refused notice not again
                self._failures = 0
                self._waiting = [*(notices if error and len(notices) > 1 else []), *self._waiting]
            else:
                self._failures += 1
                self._waiting += notices
                self._told |= {notice.run: error for notice in self._waiting}  # for the same receiver
                self._not_before = self._clock() + _HOLD_S
        if error:
            log.warning("%s: a notice was not delivered: %s", notices[0].client, error)
        return error is None or is_final

    def _send(self, notices: Sequence[Notice]) -> tuple[str | None, bool]:
        """Give notices to the receivers: one as it is, several as a summary.

        Return why one did not take them, None where all did, and whether it never will.
        """
        settings = self.settings
        try:
            commanded = [notice for notice in notices if notice.run not in self._took_command]
            if settings.notify_command and commanded:
                text = _text(commanded)
                subprocess.run(settings.notify_command, input=text, text=True, timeout=_RECEIVER_TIMEOUT_S, check=True)
                self._took_command |= {notice.run for notice in commanded}
            if settings.notify_webhook:
                headers, text = {"Content-Type": "application/json"}, _text(notices)
                with requests.post(
                    settings.notify_webhook, data=text, headers=headers, timeout=_RECEIVER_TIMEOUT_S, stream=True
                ) as answer:
                    answer.raise_for_status()
        except requests.HTTPError as error:
            return redact(str(error)), error.response is not None and error.response.status_code in _FINAL_STATUS
        except (OSError, subprocess.SubprocessError, requests.RequestException) as error:
            return redact(str(error)), False
        self._took_command -= {notice.run for notice in notices}
        return None, False


def _text(notices: Sequence[Notice]) -> str:
    each = [asdict(notice) for notice in sorted(notices, key=lambda notice: notice.run)]
    told: dict[str, Any] = each[0] if len(each) == 1 else {"event": "summary", "notices": each}
    return json.dumps(told)
