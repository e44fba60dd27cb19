"""The error family: what failed, where, what to do about it, and the exit code that follows.

Terminal errors stay until the data or the configuration is changed; transient ones may go away by themselves, so
cron or a scheduler tries again. Nothing here knows about Spark or MLflow.
"""

from bc4all.redaction import redact
from bc4all.wording import printable

EXIT_OK = 0
EXIT_TERMINAL = 1
EXIT_USAGE = 2
EXIT_JAVA_MEMORY = 3  # of a Java with -XX:+ExitOnOutOfMemoryError; no Failure has it
EXIT_TRANSIENT = 75  # EX_TEMPFAIL of BSD's sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Failure(RuntimeError):
    """Something that bc4all cannot or will not do, told so that a person can act on it.

    `what` happened, `where` (a file, a column, a version) and the `remedy`; its text is `what (where, remedy)`, a
    line without any secret of the environment that a library's message may have brought along, and without what a name
    in a delivered file would do to a terminal.
    """

    exit_code = EXIT_TERMINAL
    _controls = ""  # control characters that its text may hold

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what, self.where, self.remedy = what, where, remedy

    def __str__(self) -> str:
        hints = ", ".join(part for part in (self.where, self.remedy) if part)
        return printable(redact(f"{self.what} ({hints})" if hints else self.what), self._controls)


class DataError(Failure, ValueError):
    """A client's data cannot be used as it is."""


class ModelError(Failure):
    """A model cannot be trained, trusted or applied."""


class ConfigurationError(Failure, ValueError):
    """The configuration or the command line is wrong; nothing was started."""

    exit_code = EXIT_USAGE
    _controls = "\n"  # a line for each fault


class Untrained(ModelError):
    """A client has no model of any version yet."""


class TransientFailure(Failure):
    """Something outside failed (storage, MLflow, the cluster), and a retry may help."""

    exit_code = EXIT_TRANSIENT


class OutOfReach(TransientFailure):
    """A server that all clients need does not answer: what it said of one, it would say of the next."""
