"""Words for messages: what depends on numbers, and what others have named."""

import math
from collections.abc import Sequence

_MAX_NAME_CHARS = 60
_MAX_NAMES = 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which one begins
_MAX_SECONDS, _MAX_MINUTES = 90, 120  # up to which an estimate is given in them


def quantity(count: int, noun: str) -> str:
    """Return `1 version`, `2 versions`. `noun`: in the singular, with a plural in -s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return names as a list for a message: not too many, none of them too long."""
    shown = [name if len(name) <= _MAX_NAME_CHARS else f"{name[:_MAX_NAME_CHARS]}…" for name in names[:_MAX_NAMES]]
    return ", ".join(shown + (["…"] if len(names) > _MAX_NAMES else []))


def inert(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def delivered(cell: str) -> str:
    """Return the text that `inert` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def printable(text: str, controls: str = "") -> str:
    """Return a text without what a terminal or a log would obey, escapes and line breaks, but for these `controls`."""
    return "".join(letter if letter.isprintable() or letter in controls else "\ufffd" for letter in text)


def elapsed_time(seconds: float) -> str:
    """Return how long something has gone on: `0:42`, `12:05`, `1:00:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about_time(seconds: float) -> str:
    """Return an estimate of a time, no finer than it can be: `10 s`, `2 min`, `3 h`."""
    if seconds <= _MAX_SECONDS:
        return f"{max(1, math.ceil(seconds / 10)) * 10} s"
    if seconds <= _MAX_MINUTES * 60:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
