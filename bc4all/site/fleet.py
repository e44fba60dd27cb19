"""What the fleet's page shows of each client: its jobs, its champion, what is published, and what wants a person."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bc4all.config.clients import Client
from bc4all.config.timing import Timing, firings
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, SCHEDULED_JOBS
from bc4all.registry.versions import CHAMPION, Registered
from bc4all.schedule.agenda import Key
from bc4all.schedule.history import FAILED, Run

SHOWN_RUNS = 30  # of each job
# What wants a person, the most urgent first; a client stands under the first that holds.
CONCERNS = ("failing", "late", "without champion", "drifting", "paused", "fine")
LATE_AFTER = timedelta(hours=1)  # without a run of it, though one was due
_WITHOUT_END = ("queued", "running", "missed")
_MIN_TIMED = 5  # runs whose median says what is usual
_UNUSUAL = 2.0  # times the median, or that part of it
_HORIZON = timedelta(days=366)


@dataclass(frozen=True)
class JobFacts:
    """One job of one client. `next` is None where it is paused; `seconds` is the median of its successful runs.

    `unusual`: the last one's seconds over that median, where this is far from 1.
    """

    job: str
    runs: Sequence[Run]
    paused: bool
    next: datetime | None
    late_since: datetime | None
    seconds: float | None
    unusual: float | None

    @property
    def is_failing(self) -> bool:
        """Whether the latest run that has ended failed."""
        return self.last_ended is not None and self.last_ended.state in FAILED

    @property
    def last_ended(self) -> Run | None:
        """The latest run that has ended; what was missed has not begun."""
        return next((run for run in reversed(self.runs) if run.state not in _WITHOUT_END), None)


@dataclass(frozen=True)
class Newest:
    """The newest published date, and what its manifest says."""

    day: Day
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class ClientFacts:
    """One client: its jobs by name, its registered model, the dates that are published, and the newest of them."""

    client: Client
    jobs: Mapping[str, JobFacts]
    registered: Registered | None
    days: Sequence[Day]
    newest: Newest | None

    @property
    def champion(self) -> int | None:
        """The number of its version that predicts; None where there is none."""
        return self.registered.aliases.get(CHAMPION) if self.registered else None

    @property
    def id(self) -> ClientId:
        """The client's."""
        return self.client.id

    @property
    def top_5(self) -> float | None:
        """The top-5 accuracy of the version that predicted last."""
        runs = self.jobs[PREDICT.name].runs
        return next((run.top_5 for run in reversed(runs) if run.top_5 is not None), None)

    @property
    def coverage(self) -> float | None:
        """The share of the newest date's products that count as answered; None where the client does not abstain."""
        return self.newest.manifest.get("coverage") if self.newest else None

    @property
    def drift(self) -> float | None:
        """The largest PSI of the newest date; None where it was not measured."""
        measured = (self.newest.manifest.get("drift") or {}).get("psi") if self.newest else None
        return max(measured.values(), default=None) if measured else None

    @property
    def concern(self) -> str:
        """The first of CONCERNS that holds."""
        jobs = self.jobs.values()
        holds = {
            "failing": any(job.is_failing for job in jobs),
            "late": any(job.late_since for job in jobs),
            "without champion": self.champion is None,
            "drifting": self.drift is not None and self.drift > self.client.drift.psi,
            "paused": all(job.paused for job in jobs),
            "fine": True,
        }
        return next(concern for concern in CONCERNS if holds[concern])


def job_facts(client: Client, job: str, runs: Sequence[Run], paused: bool, now: datetime) -> JobFacts:
    """Return the facts of a job. `runs`: its last ones, the latest last; `paused`: whether a person has paused it."""
    timing = None if paused else client.due(job)
    lengths = [run.seconds for run in runs if run.state == "done" and run.seconds is not None]
    usual = statistics.median(lengths) if len(lengths) >= _MIN_TIMED else None
    ratio = lengths[-1] / usual if usual else 1.0
    return JobFacts(
        job=job,
        runs=runs,
        paused=timing is None,
        next=next(firings(timing.expression, timing.zone, now, now + _HORIZON), None) if timing else None,
        late_since=_late_since(timing, runs, now) if timing else None,
        seconds=statistics.median(lengths) if lengths else None,
        unusual=ratio if not 1 / _UNUSUAL < ratio < _UNUSUAL else None,
    )


def _late_since(timing: Timing, runs: Sequence[Run], now: datetime) -> datetime | None:
    """Return when the first run was due that has not come; None where none is missing, or there never was one."""
    begun = [datetime.fromisoformat(run.scheduled_for).astimezone(UTC) for run in runs if run.state != "missed"]
    if not begun:
        return None
    last = max(begun)
    return next(firings(timing.expression, timing.zone, last, now - LATE_AFTER), None)


def fleet_facts(
    clients: Sequence[Client],
    recent: Mapping[Key, Sequence[Run]],
    pauses: Mapping[Key, str],
    registered: Mapping[ClientId, Registered],
    days: Mapping[ClientId, Sequence[Day]],
    newest: Mapping[ClientId, Newest],
    now: datetime,
) -> list[ClientFacts]:
    """Return the facts of all clients, those that want a person first."""
    facts = [
        ClientFacts(
            client=client,
            jobs={
                job: job_facts(client, job, recent.get((client.id, job), ()), (client.id, job) in pauses, now)
                for job in SCHEDULED_JOBS
            },
            registered=registered.get(client.id),
            days=days.get(client.id, ()),
            newest=newest.get(client.id),
        )
        for client in clients
    ]
    return sorted(facts, key=lambda one: (CONCERNS.index(one.concern), one.id))
