"""Categories of one client that people would take for one: `Shoes` and `Shoes `, NFC and NFD, `A>B` and `A > B`."""

import re
import unicodedata
from collections.abc import Mapping

from bc4all.wording import printable

_MAX_GROUPS = 10  # told of one client
_AROUND_MARKS = re.compile(r"\s*([^\w\s])\s*")
_WHOLE_NUMBER = re.compile(r"(\d+)\.0+")


def look_alikes(counts: Mapping[str, int]) -> list[list[str]]:
    """Return the groups of names that look alike, the most frequent name of each first; `counts` are rows by name."""
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(_looks(name), []).append(name)
    alike = [sorted(group, key=lambda name: -counts[name]) for group in groups.values() if len(group) > 1]
    return sorted(alike, key=lambda group: -counts[group[0]])


def _looks(name: str) -> str:
    text = " ".join(unicodedata.normalize("NFC", name).split()).casefold()
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else _AROUND_MARKS.sub(r"\1", text)


def warning(counts: Mapping[str, int]) -> str:
    """Return what is to be said of a client's categories, and the lines of a category map that make them one.

    Empty where no two look alike.
    """
    groups = look_alikes(counts)
    if not groups:
        return ""
    told = ("; ".join(f"{name!r} ({counts[name]} rows)" for name in group) for group in groups[:_MAX_GROUPS])
    more = f", and {len(groups) - _MAX_GROUPS} groups more" if len(groups) > _MAX_GROUPS else ""
    lines = [f"{_quoted(name)},{_quoted(group[0])}" for group in groups[:_MAX_GROUPS] for name in group[1:]]
    head = f"categories that look alike are kept apart: {' | '.join(told)}{more}; a category map joins them by"
    return "\n".join([head, *lines])


def _quoted(name: str) -> str:
    spaces = "".join(letter for letter in name if unicodedata.category(letter) == "Zs")  # of all kinds
    return '"' + printable(name, spaces).replace('"', '""') + '"'
