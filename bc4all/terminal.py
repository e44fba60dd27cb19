"""Where commands and jobs print: a terminal as wide as it is, or a file, in which no table is cut off."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from bc4all.variables import TERMINAL_COLUMNS

_NO_LIMIT = 10_000  # columns of a file or a pipe


def console() -> Console:
    """Return standard output.

    spark-submit passes a job's through a pipe: bin/submit.sh says if a terminal is behind. What the encoding of a
    terminal lacks is written as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what tests and notebooks put in its place may have none
            stream.reconfigure(errors="backslashreplace")
    columns = os.environ.get(TERMINAL_COLUMNS, "")
    if columns.isdigit():
        return Console(force_terminal=True, width=int(columns))
    wide = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(width=_NO_LIMIT) if wide else Console()


def print_rows(rows: Sequence[Any], as_json: bool, table: Callable[[], Any]) -> None:
    """Print rows as a JSON list, for programs, or the table of them, for people."""
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        console().print(table())
