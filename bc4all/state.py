"""The folder of this machine where runs are remembered: history, logs, and the locks that keep jobs apart.

It is not data: it lies in `$BC4ALL_STATE`, by default in `$DATA_PREFIX/_state` where that is a local folder, else below
`~/.local/state/bc4all`. Locks are the kernel's (flock): they end with the process that holds them, however it ends, and
hold among the processes of one machine.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.identity import ClientId
from bc4all.layout import Layout
from bc4all.variables import STATE_FOLDER

_DAY_S = 86400.0
_LOCK_TIMEOUT_S = 2.0  # seconds for which a lock is waited for
_REMEDY = f"set {STATE_FOLDER} to a folder of this machine that can be written"
_BY_HAND = "by-hand-"  # begins the names of results that no starter waits for
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class State:
    """The state folder, and what lies where in it."""

    folder: Path

    @classmethod
    def from_environment(cls, layout: Layout, environment: Mapping[str, str] | None = None) -> "State":
        """Return the state of the jobs that work on this layout."""
        given = (os.environ if environment is None else environment).get(STATE_FOLDER)
        if given:
            return cls(Path(given).expanduser().absolute())
        if layout.local_path is not None:
            return cls(layout.local_path / "_state")
        name = hashlib.sha256(layout.prefix.encode()).hexdigest()[:12]
        return cls(Path.home() / ".local" / "state" / "bc4all" / name)

    @property
    def history(self) -> Path:
        """The SQLite file of all runs; the folder is made."""
        return self._file("history.db")

    def logs_of(self, client_id: ClientId) -> Path:
        """Return the folder of a client's own logs, there or not."""
        return self.folder / "logs" / client_id

    def run_log(self, client_id: ClientId | None, name: str) -> Path:
        """Return the log of an application of one client, or of several; the folder above it is made."""
        return self._file("logs", "_batch" if client_id is None else client_id, f"{name}.log")

    def recorded_log(self, path: str) -> Path:
        """Return where a log lies that the history knows by `path`.

        A copied or moved state keeps the paths of the one before: never those files, but its own of the same name.
        """
        return self.folder.joinpath("logs", *Path(path).parts[-2:])

    def results(self, name: str) -> Path:
        """Return where a job writes what became of each client; the folder above it is made."""
        return self._file("results", f"{name}.jsonl")

    def by_hand(self, job: str) -> Path:
        """Return where a job writes the same that no starter watches: a file of its own."""
        return self.results(f"{_BY_HAND}{job}-{uuid.uuid4().hex[:12]}")

    def results_by_hand(self) -> list[Path]:
        """Return the files of such jobs."""
        return sorted(self.folder.joinpath("results").glob(f"{_BY_HAND}*.jsonl"))

    def _file(self, *names: str) -> Path:
        path = self.folder.joinpath(*names)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"no state can be kept: {error}", str(self.folder), _REMEDY) from error
        return path

    @property
    def id(self) -> str:
        """What names this folder's locks: the folder, wherever a path like its own may lead, and who sees them."""
        return "/".join((self._name(), *_machine()))

    def speaks_for(self, locks: str) -> bool:
        """Return whether the locks that this `id` names can be seen from here: locks need not reach another machine.

        A machine keeps its name when it starts anew, and its containers share how often it has.
        """
        name, _, machine = locks.partition("/")
        return name == self._name() and any(
            mine == its for mine, its in zip(_machine(), machine.split("/"), strict=False)
        )

    def _name(self) -> str:
        file = self._file("id")
        try:
            if not file.exists():
                unfinished = file.with_name(f".id.{os.getpid()}.{threading.get_ident()}")
                unfinished.write_text(uuid.uuid4().hex)
                with contextlib.suppress(FileExistsError):  # another process was first: its name counts
                    os.link(unfinished, file)
                unfinished.unlink()
            return file.read_text()
        except OSError as error:
            raise ConfigurationError(f"no state can be kept: {error}", str(self.folder), _REMEDY) from error

    @contextmanager
    def exclusive(self, client_id: ClientId, job: str, patience: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
        """Be the only one to work on this client's job. Raises TransientFailure where another process is at it.

        Waits for `patience` seconds: a process that looks whether a run is dead has its lock for a moment.
        """
        file = self._lock(client_id, job)
        end = time.monotonic() + patience
        while (descriptor := try_lock(file)) is None and time.monotonic() < end:
            time.sleep(0.1)
        if descriptor is None:
            raise TransientFailure(
                f"another {job} of this client is running",
                f"process {file.read_text().strip() or 'unknown'} of this machine",
                "wait for its end",
            )
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def unless_busy(self, client_id: ClientId, job: str) -> Iterator[bool]:
        """Keep a client's job from being begun during the block; False where another process is at it already."""
        descriptor = try_lock(self._lock(client_id, job))
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _lock(self, client_id: ClientId, job: str) -> Path:
        return self._file("locks", f"{client_id}.{job}")

    def slot(self, max_parallel: int) -> int | None:
        """Return one of `max_parallel` places to run an application, as an open, locked file; None where all are taken.

        A child that inherits the descriptor keeps the place for as long as it lives.
        """
        for number in range(max_parallel):
            descriptor = try_lock(self._file("slots", str(number)))
            if descriptor is not None:
                return descriptor
        return None

    def claim_day(self) -> bool:
        """Return whether what is done once a day is this process's to do: no other has begun it for a day."""
        file = self._file("cleaned")
        if file.exists() and time.time() - file.stat().st_mtime < _DAY_S:
            return False
        file.touch()
        return True

    def only_scheduler(self) -> int | None:
        """Return the scheduler's own lock, held until it is closed; None where another scheduler has it."""
        return try_lock(self._file("locks", "scheduler"))


def _machine() -> tuple[str, str]:
    """Return what this start of the machine is called, and the machine."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else str(uuid.getnode())
    return boot, platform.node()


def try_lock(file: Path) -> int | None:
    """Open and lock a file, and return its descriptor; None where another process has the lock."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
