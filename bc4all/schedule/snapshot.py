"""What the scheduler was like at its last step, and what its history tells of each client's jobs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bc4all.config.clients import Client
from bc4all.identity import ClientId
from bc4all.job_kinds import JOB_KINDS, SCHEDULED_JOBS
from bc4all.schedule.agenda import Key
from bc4all.schedule.history import FAILED, History, Run
from bc4all.schedule.punctuality import Expectations

_STALE_AFTER_S = 120.0  # seconds without a step after which the scheduler hangs


@dataclass(frozen=True)
class JobRecord:
    """One job of one client. Times are seconds since 1970; None is what there is not.

    `next_due` and `allowed_age` (in seconds) are None where the job is paused or not enabled. `seconds`, `rows` and
    `top_5` are those of the last success.
    """

    client: ClientId
    job: str
    ok: bool | None = None  # whether the last run that ended succeeded
    last_success: float | None = None
    next_due: float | None = None
    allowed_age: float | None = None
    seconds: float | None = None
    rows: int | None = None
    top_5: float | None = None


@dataclass(frozen=True)
class Records:
    """What the history tells: how many runs there are by job and state, and each client's jobs."""

    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    jobs: Sequence[JobRecord] = ()

    @classmethod
    def read(cls, history: History, clients: Iterable[Client], expectations: Expectations, now: datetime) -> "Records":
        """Return those of a history, for these clients."""
        ended, done, pauses = history.latest(("done", *FAILED)), history.latest(("done",)), history.pauses()
        keys = ((client, job) for client in clients for job in JOB_KINDS)
        jobs = (
            _record(client, job, ended.get((client.id, job)), done.get((client.id, job)), pauses, expectations, now)
            for client, job in keys
            if job in SCHEDULED_JOBS or (client.id, job) in ended
        )
        return cls(history.counts(), list(jobs))


@dataclass(frozen=True)
class Snapshot:
    """What the scheduler last was like."""

    last_tick: float = 0.0
    running: int = 0
    queued: int = 0
    valid: bool = True
    records: Records = field(default_factory=Records)
    undelivered: int = 0
    counted: float = 0.0  # when `queued` and `records` were taken

    def health(self, now: float) -> tuple[int, str]:
        """Return the status and the body of /health: 503 once the scheduler has not looked for two minutes."""
        age = now - self.last_tick
        body = {"last_tick_age": round(age, 1), "running": self.running, "queued": self.queued}
        return (200 if age < _STALE_AFTER_S else 503), json.dumps({**body, "configuration_valid": self.valid}) + "\n"


def _record(
    client: Client,
    job: str,
    ended: Run | None,
    done: Run | None,
    pauses: Mapping[Key, str],
    expectations: Expectations,
    now: datetime,
) -> JobRecord:
    """Return a job's record. `ended`, `done`: its last run that ended, and that succeeded."""
    timing = client.due(job) if job in SCHEDULED_JOBS and (client.id, job) not in pauses else None
    expected = expectations.of(timing, now) if timing else None
    return JobRecord(
        client=client.id,
        job=job,
        ok=ended.state == "done" if ended else None,
        last_success=datetime.fromisoformat(done.ended).timestamp() if done and done.ended else None,
        next_due=expected.next_due.timestamp() if expected else None,
        allowed_age=expected.allowed_age if expected else None,
        seconds=done.seconds if done else None,
        rows=done.rows if done else None,
        top_5=done.top_5 if done else None,
    )
