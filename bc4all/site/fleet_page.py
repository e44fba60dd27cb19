"""The fleet's facts -> what its template shows."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.site.fleet import CONCERNS, ClientFacts, JobFacts
from bc4all.site.pages import NONE, age, length, share, until

_ERROR_CHARS = 120  # of an error in the table; the client's page has it whole


def fleet_context(clients: Sequence[ClientFacts], now: datetime) -> dict[str, Any]:
    """Return what `fleet.html.jinja` takes. `clients`: those that want a person first."""
    counts = Counter(one.concern for one in clients)
    seen: set[str] = set()
    rows = []
    for one in clients:
        rows.append(_row(one, now) | {"anchor": one.concern not in seen})
        seen.add(one.concern)
    names = sorted({name for one in clients for name in one.client.labels})
    return {
        "root": "",
        "as_of": now,
        "jobs": SCHEDULED_JOBS,
        "clients": rows,
        "counts": {concern: counts[concern] for concern in CONCERNS},
        "label_names": names,
    }


def _row(one: ClientFacts, now: datetime) -> dict[str, Any]:
    labels = [f"{name}: {value}" for name, value in sorted(one.client.labels.items())]
    following = [job.next for job in one.jobs.values() if job.next]
    return {
        "id": one.id,
        "href": f"clients/{one.id}.html",
        "labels": "\n".join(labels),
        "label_list": labels,
        "concern": one.concern,
        "order": CONCERNS.index(one.concern),
        "why": why(one),
        "jobs": [_job(job) for job in one.jobs.values()],
        "top_5": share(one.top_5),
        "coverage": share(one.coverage),
        "drift": share(one.drift, 2),
        "champion": one.champion or NONE,
        "published": one.newest.day if one.newest else "",
        "age": age(one.newest.day, now) if one.newest else "",
        "next": until(min(following, default=None), now),
        "next_sort": int(min(following).timestamp()) if following else "z",
    }


def _job(job: JobFacts) -> dict[str, Any]:
    return {
        "name": job.job,
        "states": [run.state for run in job.runs],
        "seconds": length(job.seconds),
        "seconds_sort": f"{job.seconds:.1f}" if job.seconds is not None else "z",
        "unusual": f"last {job.unusual:.1f} ×" if job.unusual else "",
    }


def why(one: ClientFacts) -> str:
    """Return in a few words why a client stands where it does; nothing where its state says all."""
    if one.concern == "failing":
        return "; ".join(f"{job.job}: {_error(job)}" for job in one.jobs.values() if job.is_failing)
    if one.concern == "late":
        late = (job for job in one.jobs.values() if job.late_since)
        return "; ".join(f"{job.job} was due {job.late_since:%Y-%m-%d %H:%M} UTC" for job in late)
    if one.concern == "drifting":
        return f"PSI {one.drift:.2f}"
    return ""


def _error(job: JobFacts) -> str:
    error = (job.last_ended.error or job.last_ended.state) if job.last_ended else ""
    return error if len(error) <= _ERROR_CHARS else f"{error[:_ERROR_CHARS]}…"
