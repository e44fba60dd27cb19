"""Whatever was raised as one of our failures: one line that a person can act on, and whether a retry may help."""

import re
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PythonException

from bc4all.errors import EXIT_TRANSIENT, DataError, Failure, ModelError, TransientFailure

_RAISED = re.compile(r"^([A-Za-z_.]+(?:Error|Exception|Interrupt|Exit)): (.+)$", re.MULTILINE)  # ends a traceback
_READING = re.compile(r"\[FAILED_READ_FILE[.\w]*\].*? file:? (\S+?)\.?(?:\s|$)")  # Spark's words, whatever the cause
# What zlib, Hadoop's codecs and Parquet say of content that is not theirs, some as an IOException like any other.
_DAMAGE = re.compile(
    r"(?:EOF|Zip|TProtocol|ParquetDecoding|ParquetCrypto\w*)Exception: (?!.*(?:local host|Premature EOF))"
    r"|is not a Parquet file|[nN]ot a gzip file|can not read (?:class|FileMetaData)"
    r"|FAILED_TO_UNCOMPRESS|stream CRC failure"
    r"|: (?:invalid|incorrect|unknown) (?:distance|block|code|bit|stored|lit|head)"
)
_WORKER_ENDED = "Python worker exited unexpectedly"
# A Python worker that raised, or was killed; an executor that was lost with the same task each time.
_OF_A_TASK = re.compile(rf"^PythonException|{_WORKER_ENDED}|ExecutorLostFailure")
_WRITTEN = re.compile(r"while writing rows to (\S+?)\.(?:\s|$)")
_FULL = "No space left on device"
_MORE_MEMORY = "give the driver or the executors more, or the client a smaller `model`"
_MAX_MESSAGE_CHARS = 300  # characters of a library's message
_MAX_CAUSES = 20  # causes of causes


def as_failure(error: Exception) -> Failure:
    """Return any exception as a Failure: transient, so that it is retried, unless it is known to be terminal."""
    if isinstance(error, Failure):
        return error
    messages = causes(error)
    if isinstance(error, PythonException) or any(message.startswith("PythonException") for message in messages):
        return _of_worker(str(error))
    if any(_WORKER_ENDED in message for message in messages):
        remedy = "it was killed, ran out of memory, or its model crashed: see the log; a retry may help"
        return TransientFailure("a Python worker ended in the middle of its work", remedy=remedy)
    text = messages[-1]
    if isinstance(error, MemoryError):
        return Failure(f"there is not memory enough: {text}", remedy=_MORE_MEMORY)
    reading = _reading(messages)
    if reading and is_stale_checksum(messages):
        return stale_checksum(reading)
    if reading and tells_of_damage(messages):
        return DataError(f"{reading} is truncated or damaged", text, "deliver it again")
    if _FULL in text:
        written = next((found[1] for found in map(_WRITTEN.search, messages) if found), "")
        remedy = "make room, then run it again: nothing was published"
        return TransientFailure(f"a disk is full: {_FULL}", unquote(written), remedy)
    if isinstance(error, ArithmeticError | LookupError | TypeError | AttributeError):
        return Failure(text, remedy="this is a fault of bc4all: see the log")
    return TransientFailure(text, remedy="see the log; a retry may help")


def _reading(messages: list[str]) -> str | None:
    found = next((found[1] for found in map(_READING.search, messages) if found), None)
    return unquote(found) if found else None


def unread_file(error: Exception) -> str | None:
    """Return the URI of the file that a Spark job could not read; None where it failed by something else."""
    return None if isinstance(error, Failure) else _reading(causes(error))


def may_be_one_clients(error: Exception) -> bool:
    """Return whether what a Spark job of many clients raised may be one client's fault: its data, or its model.

    A worker that raised or ended, an executor that was lost each time, a damaged file; not a full disk, or a storage or
    a cluster that does not answer.
    """
    if isinstance(error, Failure):
        return error.exit_code != EXIT_TRANSIENT
    if isinstance(error, PythonException):
        return True
    messages = causes(error)
    return tells_of_damage(messages) or is_stale_checksum(messages) or any(map(_OF_A_TASK.search, messages))


def _of_worker(said: str) -> Failure:
    """Return a Python worker's error, the last line of its traceback, from all that Spark says of it."""
    raised = _RAISED.findall(said)
    kind, text = raised[-1] if raised else ("an error", _line(said))
    if kind == "MemoryError":
        return Failure(f"a Python worker had not memory enough: {text[:_MAX_MESSAGE_CHARS]}", remedy=_MORE_MEMORY)
    if kind == "ValueError":  # scikit-learn's own words about the data
        return ModelError(text, remedy="change the data, or train another `model`")
    return TransientFailure(
        f"a Python worker raised {kind}: {text[:_MAX_MESSAGE_CHARS]}", remedy="see the log; a retry may help"
    )


def is_stale_checksum(messages: list[str]) -> bool:
    """Return whether one of an error's `causes` is that a file is another than its checksums were made of."""
    return any(message.startswith("ChecksumException: ") for message in messages)


def stale_checksum(uri: str) -> DataError:
    """Return the failure of a file that was changed beside the checksums that Hadoop has written."""
    folder, _, name = uri.rpartition("/")
    remedy = f"deliver it again, or remove {folder}/.{name}.crc if the file is right"
    return DataError(f"{uri} is not what its checksums were made of", f".{name}.crc", remedy)


def tells_of_damage(messages: list[str]) -> bool:
    """Return whether one of an error's `causes` says that a file is damaged, and not that it was not reached."""
    return any(_DAMAGE.search(message) for message in messages)


def causes(error: Exception) -> list[str]:
    """Return what an error says and what lies below it, each on a line with its kind: Java wraps a cause many times."""
    if not isinstance(error, Py4JJavaError):
        return [f"{type(error).__name__}: {_line(str(error))}"]
    found: list[str] = []
    cause = error.java_exception
    while cause is not None and len(found) < _MAX_CAUSES:
        found.append(f"{cause.getClass().getSimpleName()}: {_line(str(cause.getMessage()))}")
        cause = cause.getCause()
    return found


def _line(text: str) -> str:
    return " ".join(text.split())[:_MAX_MESSAGE_CHARS]
