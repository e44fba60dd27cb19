"""The next 24 hours of a fleet -> what its template shows, with a sentence that says whether `max_parallel` will do."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bc4all.site.fleet import ClientFacts
from bc4all.site.pages import length
from bc4all.site.simulation import Application, Expected, applications, simulate
from bc4all.site.tonight import (
    AHEAD,
    ASSUMED_S,
    SLOTS,
    Durations,
    Late,
    Overload,
    Slot,
    due_firings,
    durations,
    first_slot,
    latest_starts,
    slots,
    worst_overload,
)
from bc4all.wording import about_time, quantity

_SHOWN_LATE = 50
_SHOWN_SLOTS = 10
_WIDTH, _HEIGHT = 960, 260  # pixels of the chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 20, 30  # around its plot
_TICK_HOURS = 3


def tonight_context(clients: Sequence[ClientFacts], max_parallel: int, now: datetime) -> dict[str, Any]:
    """Return what `tonight.html.jinja` takes."""
    now = now.astimezone(UTC)
    start, until, usual = first_slot(now), now + AHEAD, durations(clients)
    due = due_firings(clients, usual, now, until)
    runs = simulate(due, max_parallel)
    together = applications(runs)
    every = slots(together, due, start)
    overload, late = worst_overload(together), latest_starts(runs)
    rows = [_slot(slot) for slot in every if slot.due or slot.load]
    return {
        "root": "",
        "as_of": now,
        "until": until,
        "max_parallel": max_parallel,
        "overload": overload is not None,
        "verdict": _verdict(overload, every, len(runs), max_parallel, until),
        "notes": [*_overtaken(runs), *_shared(runs, together), *_durations(usual)],
        "chart": _chart(every, max_parallel),
        "busiest": [_slot(slot) for slot in sorted(every, key=_business)[:_SHOWN_SLOTS] if slot.load],
        "slots": rows,
        "late": [_late(one, usual, until) for one in late[:_SHOWN_LATE]],
        "late_count": len(late),
    }


def _clock(at: datetime, until: datetime) -> str:
    """Return a time of day, with its date where it is after the hours that are shown."""
    return f"{at:%H:%M}" if at < until else f"{at:%Y-%m-%d %H:%M}"


def _at(seconds: float, until: datetime) -> str:
    return _clock(datetime.fromtimestamp(seconds, UTC), until)


def _verdict(overload: Overload | None, every: Sequence[Slot], runs: int, max_parallel: int, until: datetime) -> str:
    if not runs:
        return "Nothing is due."
    if overload is None:
        most = max(every, key=lambda slot: slot.running)
        apart = f"{quantity(runs, 'run')} {'is' if runs == 1 else 'are'} due"
        return (
            f"No run waits for a place: {apart}, and at most {most.running} of {max_parallel} applications run at once."
        )
    first, last = _clock(overload.first, until), _clock(overload.last, until)
    when = f"At {first}" if first == last else f"From {first} to {last}"
    apart = "" if overload.applications == overload.runs else f", in {quantity(overload.applications, 'application')},"
    due = f"{when} {quantity(overload.runs, 'run')} {'is' if overload.runs == 1 else 'are'} due{apart}"
    return f"{due} and {max_parallel} run at once: {_worst(overload, until)}."


def _worst(overload: Overload, until: datetime) -> str:
    worst, due = overload.worst, overload.worst.runs[0].firing.due
    which = "the last one" if overload.first == overload.last else "the one that waits longest"
    left, late = _at(worst.left_queue, until), about_time(worst.left_queue - due)
    if worst.start is None:
        return f"{which} is skipped at {left}, after {late}"
    return f"{which} starts at {left}, {late} late"


def _overtaken(runs: Sequence[Expected]) -> list[str]:
    count = sum(run.start is None for run in runs)
    if not count:
        return []
    return [f"{quantity(count, 'run')} of {len(runs):,} will be skipped: the next time of the same job comes first."]


def _shared(runs: Sequence[Expected], together: Sequence[Application]) -> list[str]:
    if len(runs) == len(together):
        return []
    return [
        f"{quantity(len(runs), 'run')} in {quantity(len(together), 'application')}: clients that are due at the same "
        "minute share one, unless they have `batch: false`."
    ]


def _durations(usual: Durations) -> list[str]:
    said = "Each run takes the median of its job's successful runs"
    count = len(usual.estimated)
    if not count:
        return [f"{said}."] if usual.seconds else []
    has, none = ("has", "it takes") if count == 1 else ("have", "they take")
    notes = [
        f"{said}. {count:,} of {quantity(len(usual.seconds), 'job')} {has} none yet: {none} the median of the fleet's "
        "same job."
    ]
    if usual.assumed:
        jobs = " or ".join(sorted(usual.assumed))
        notes.append(f"No client has a successful {jobs} run yet: {about_time(ASSUMED_S)} is assumed.")
    return notes


def _business(slot: Slot) -> tuple[int, int, datetime]:
    return -slot.load, -slot.due, slot.at


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "at": f"{slot.at:%H:%M}",
        "sort": int(slot.at.timestamp()),
        "due": slot.due,
        "running": slot.running,
        "waiting": slot.waiting,
    }


def _late(one: Late, usual: Durations, until: datetime) -> dict[str, Any]:
    worst, firing = one.worst, one.worst.firing
    for_itself = worst.ready - firing.due > worst.left_queue - worst.ready
    return {
        "id": firing.client,
        "job": firing.job,
        "due": _at(firing.due, until),
        "due_sort": int(firing.due),
        "start": f"skipped at {_at(worst.end, until)}" if worst.start is None else _at(worst.start, until),
        "start_sort": int(worst.left_queue),
        "late": about_time(worst.late),
        "late_sort": int(worst.late),
        "takes": length(firing.seconds),
        "seconds": f"{firing.seconds:.0f}",
        "estimated": firing.key in usual.estimated,
        "waits_for": "an earlier run of its own" if for_itself else "a free place",
        "overtaken": one.overtaken,
    }


def _chart(every: Sequence[Slot], max_parallel: int) -> dict[str, Any]:
    """Return two areas over the slots and a line at `max_parallel`, in pixels."""
    highest = max(max_parallel, *(slot.load for slot in every))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    base = _HEIGHT - _BOTTOM

    def x(place: int) -> str:
        return f"{_LEFT + width * place / SLOTS:.1f}"

    def y(value: int) -> str:
        return f"{base - height * value / highest:.1f}"

    def area(values: Sequence[int]) -> str:
        steps = "".join(f"V{y(value)}H{x(place + 1)}" for place, value in enumerate(values))
        return f"M{_LEFT} {base}{steps}V{base}Z"

    hours = [
        (x(place), f"{slot.at:%H:%M}")
        for place, slot in enumerate(every)
        if slot.at.minute == 0 and slot.at.hour % _TICK_HOURS == 0
    ]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "top": _TOP,
        "base": base,
        "running": area([slot.running for slot in every]),
        "load": area([slot.load for slot in every]),
        "limit": y(max_parallel),
        "highest": highest,
        "hours": hours,
    }
