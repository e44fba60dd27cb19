"""`category_map/<client>.csv` beside the configuration: what a client's categories are called now.

Columns old, new and, if need be, from: the date from which on training labels are renamed, when a taxonomy changes.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day

CATEGORY_MAPS = "category_map"  # beside the configuration file
_COLUMNS = ["old", "new", "from"]
_ALWAYS = Day("0001-01-01")  # no date is before it


class Renaming(NamedTuple):
    """A renaming: `old`, as it is delivered, is called `new` from the day `since` on ("" for always)."""

    old: str
    new: str
    since: Day | Literal[""]
    line: int


@dataclass(frozen=True)
class CategoryMap:
    """What a client's categories are called now."""

    file: Path
    renamings: tuple[Renaming, ...] = ()

    def names(self, day: Day) -> dict[str, str]:
        """Old name -> what it is called on a date, renamed again or not. Raises ConfigurationError on a cycle."""
        steps = {one.old: one for one in sorted(self.renamings, key=lambda one: one.since) if one.since <= day}
        names = {}
        for old in steps:
            seen, name = [old], old
            while name in steps:
                name = steps[name].new
                if name in seen:
                    round_trip = " -> ".join([*seen, name])
                    where = f"{self.file}:{steps[old].line}"
                    raise ConfigurationError(f"{where}: {round_trip} goes round", remedy="remove one of these lines")
                seen.append(name)
            names[old] = name
        return names


def map_file(config: Path, client_id: ClientId) -> Path:
    """Return where a client's map lies, there or not."""
    return config.parent / CATEGORY_MAPS / f"{client_id}.csv"


def read_category_map(config: Path, client_id: ClientId) -> CategoryMap | None:
    """Return a client's map, None where it has none. Raises ConfigurationError, naming file and line, on any fault."""
    file = map_file(config, client_id)
    if not file.exists():
        return None
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            found = CategoryMap(file, tuple(_renamings(file, csv.reader(lines))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    for day in {one.since or _ALWAYS for one in found.renamings}:
        found.names(day)  # a cycle on any date is refused on every one
    return found


def _renamings(file: Path, rows: Iterator[list[str]]) -> Iterator[Renaming]:
    header = [name.strip() for name in next(rows, [])]
    if header not in (_COLUMNS, _COLUMNS[:2]):
        raise ConfigurationError(f"{file}:1: the columns are {header}", remedy=f"write {','.join(_COLUMNS)}")
    met: dict[tuple[str, str], int] = {}
    trimmed: list[Renaming] = []
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        old, new, start = [*(value.strip() for value in row), "", ""][:3]
        if len(row) != len(header) or not old or not new:
            raise ConfigurationError(f"{file}:{line}: {row} is no {','.join(header)}")
        try:
            since = start and Day(start)
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}:{line}: {error}") from error
        before = met.setdefault((row[0], since), line)
        if before != line:
            raise ConfigurationError(f"{file}:{line}: {row[0]!r} is renamed already in line {before}")
        yield Renaming(row[0], new, since, line)  # a name may be delivered with spaces around it
        if old not in (row[0], new):
            trimmed.append(Renaming(old, new, since, line))
    for one in trimmed:  # spaces around it may also be the map's own
        if met.setdefault((one.old, one.since), one.line) == one.line:
            yield one
