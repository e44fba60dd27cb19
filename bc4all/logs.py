"""The log: text for people, or one line of JSON an event in the schema of Spark's own structured log.

Every event carries what `log_context` said last on its thread: application, client, job, run.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TextIO

from bc4all.redaction import redact

LEVELS = ("debug", "info", "warning", "error")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add fields to every event of the block, on this thread and those that copy its context."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def start_log(level: str, structured: bool) -> None:
    """Log to standard error from `level` (one of LEVELS) on; libraries only their warnings, unless at debug."""
    handler = _Handler(sys.stderr)
    handler.addFilter(_add_context)
    if level != "debug":
        handler.addFilter(_is_no_trace_of_py4j)
    if structured:
        from pyspark.logger.logger import JSONFormatter

        handler.setFormatter(JSONFormatter())
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    libraries = logging.DEBUG if level == "debug" else logging.WARNING
    logging.basicConfig(handlers=[handler], level=libraries, force=True)
    logging.getLogger("bc4all").setLevel(level.upper())
    # As text, a client's outcome stands on standard output already.
    logging.getLogger("bc4all.outcome").disabled = not structured
    os.environ["MLFLOW_LOGGING_LEVEL"] = logging.getLevelName(libraries)  # which it sets when it is imported
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(libraries)
    for noisy in ("py4j", "matplotlib", "numba"):  # thousands of lines a client at debug
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Handler(logging.StreamHandler[TextIO]):
    """Keeps the environment's secrets out of every event, tracebacks and other people's messages included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _add_context(record: logging.LogRecord) -> bool:
    record.context = dict(_context.get())
    return True


def _is_no_trace_of_py4j(record: logging.LogRecord) -> bool:
    """Return False for what py4j logs of an exception that it also raises: on Ctrl-C, and when Java ends, pages."""
    return not (record.exc_info and "py4j" in record.pathname)
