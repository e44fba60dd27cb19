"""Templates -> pages: Jinja with autoescape, and the words that several templates share."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bc4all.identity import Day
from bc4all.wording import quantity

# Shape and colour both tell a state: one in twelve men does not tell red from green.
GLYPHS = {
    "done": "●",
    "failed": "▲",
    "timeout": "◆",
    "stopped": "■",
    "lost": "✖",
    "missed": "○",
    "running": "▶",
    "queued": "…",
}
NONE = "–"


def render(template: str, **context: Any) -> str:
    """Return a page. Raises jinja2's UndefinedError for what the context lacks."""
    return _environment().get_template(template).render(glyphs=GLYPHS, **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bc4all.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "quantity": quantity,
        "slug": lambda text: text.replace(" ", "-"),
        "groups": _groups,
        "moment": moment,
        "share": share,
    }
    return environment


def _groups(states: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each state and how often it stands in a row."""
    for state, same in groupby(states):
        yield state, len(list(same))


def moment(at: datetime) -> str:
    """Return a time as people read it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def share(value: float | None, digits: int = 3) -> str:
    """Return a number between 0 and 1, or a dash for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def length(seconds: float | None) -> str:
    """Return a length of time in its largest unit but one decimal: 4.2 s, 3.5 min, 1.2 h; a dash for none."""
    if seconds is None:
        return NONE
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def until(at: datetime | None, now: datetime) -> str:
    """Return in how long a time is; a dash for none."""
    if at is None:
        return NONE
    left = at - now
    return f"in {left.days} d" if left >= timedelta(days=2) else f"in {length(left.total_seconds())}"


def age(day: Day, now: datetime) -> str:
    """Return how old a date is: nothing of today's and yesterday's."""
    days = (now.date() - date.fromisoformat(day)).days
    return f"{days} d old" if days > 1 else ""
