"""Notices: a command or a webhook is told once when a client's job has failed for good, and once when it is well again.

Delivery runs aside, so that no slow receiver holds the scheduler up; what cannot be delivered is logged and counted.
"""

import json
import logging
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import requests

from bc4all.config.settings import SchedulerSettings
from bc4all.identity import ClientId, Day
from bc4all.schedule.history import Run

log = logging.getLogger(__name__)

_RECEIVER_TIMEOUT_S = 20  # seconds for a receiver


@dataclass(frozen=True)
class Notice:
    """What a receiver gets, as JSON. `event` is failed or recovered."""

    event: str
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
        about = (run.client, run.job, run.day, run.scheduled_for, run.attempt)
        return cls(event, *about, run.state, run.exit_code, run.error, run.log)


class Notifier:
    """Delivers notices as the settings of the moment say."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.undelivered = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="notices")

    def __call__(self, notice: Notice) -> None:
        """Deliver a notice, in the background."""
        self._pool.submit(self._deliver, notice, self.settings)

    def close(self) -> None:
        """Wait until everything is delivered."""
        self._pool.shutdown(wait=True)

    def _deliver(self, notice: Notice, settings: SchedulerSettings) -> None:
        text = json.dumps(asdict(notice))
        try:
            if settings.notify_command:
                subprocess.run(settings.notify_command, input=text, text=True, timeout=_RECEIVER_TIMEOUT_S, check=True)
            if settings.notify_webhook:
                headers = {"Content-Type": "application/json"}
                requests.post(
                    settings.notify_webhook, data=text, headers=headers, timeout=_RECEIVER_TIMEOUT_S
                ).raise_for_status()
        except (OSError, subprocess.SubprocessError, requests.RequestException) as error:
            self.undelivered += 1
            log.warning("%s: a notice was not delivered: %s", notice.client, error)
