"""Client ids, days and run ids: text that was checked when it was made, and may become a path, a name or an argument.

Each is made once, where it comes in (command line, configuration, journal, history, MLflow), and is text everywhere
else. What writes YAML is given `str(…)`: a safe dumper refuses subclasses.
"""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Self

from bc4all.errors import ConfigurationError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NUMBER = re.compile(r"\d+([eE]-?\d{1,2})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class ClientId(str):
    """What names a client in paths, MLflow and crontabs."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        """Return `value` as an id. Raises ConfigurationError where it may not become a path, a name or an argument."""
        if isinstance(value, str) and _WORD.fullmatch(value):
            return super().__new__(cls, value)
        raise ConfigurationError(
            f"{str(value)[:80]!r} is not a client id",
            remedy="use 1 to 64 letters, digits, '_' or '-', starting with a letter or digit",
        )


def equal_numbers(client_ids: Iterable[ClientId]) -> list[list[ClientId]]:
    """Return the groups of ids, such as 0123 and 123, that readers which infer folders' types take for one number."""
    groups: dict[Decimal, list[ClientId]] = {}
    for client_id in client_ids:
        if _NUMBER.fullmatch(client_id):
            groups.setdefault(Decimal(client_id), []).append(client_id)
    return [group for group in groups.values() if len(group) > 1]


class Day(str):
    """A calendar date, written YYYY-MM-DD: it names runs and published partitions, and sorts as dates do."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        """Return `value` as a day. Raises ConfigurationError where it is no date of the calendar, so written."""
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                return super().__new__(cls, date.fromisoformat(value).isoformat())
            except ValueError:
                pass  # shaped like a date, but not in the calendar: the same error as any other text
        raise ConfigurationError(f"{str(value)[:80]!r} is not a date", remedy="write it as YYYY-MM-DD")


class RunId(str):
    """What MLflow calls a run (32 hexadecimal digits): it names the folders that the run writes to."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        """Return `value` as an id. Raises ConfigurationError where it may not name a folder: a server gave it."""
        if isinstance(value, str) and _WORD.fullmatch(value):
            return super().__new__(cls, value)
        raise ConfigurationError(
            f"{str(value)[:80]!r} is not a run id", remedy="is MLFLOW_TRACKING_URI an MLflow server?"
        )
