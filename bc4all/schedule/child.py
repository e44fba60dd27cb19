"""One job as a child process: started behind a gate, watched, and stopped with everything that it started.

The child's group alone would not do: Spark's Python workers make groups of their own, and anything may detach itself.
So every descendant is known by a mark in its environment. A child that outlives the process that started it can be
taken over by the next one.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bc4all.variables import RESULTS, RUN_MARK

# Reads one line before it becomes the job: if the parent dies before it has written the child down, the job never runs.
_GATE = 'read -r go && exec "$@" </dev/null'
_SAME_START = 2.5  # seconds by which two readings of a start time may differ: the kernel tells whole ones
_KILLS = 50  # rounds in which a descendant may have started another


@dataclass(frozen=True)
class Order:
    """What to start: the command, its mark, where its output goes, and a descriptor that it is to inherit."""

    command: Sequence[str]
    mark: str
    log: Path
    results: Path
    slot: int


def scratch(mark: str) -> Path:
    """Return the folder of a child's temporary files."""
    return Path(tempfile.gettempdir()) / f"bc4all-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def _make_private(folder: Path) -> None:
    """Make a folder that no other user can read. Raises PermissionError where another could have filled it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's own: remove it")
    folder.chmod(0o700)


def uptime() -> float:
    """Return seconds since this machine was started: a clock that is set, or jumps, does not move them."""
    return time.time() - float(psutil.boot_time())


def started_at(process: psutil.Process) -> float:
    """Return when a process was started, by `uptime`."""
    return float(process.create_time()) - float(psutil.boot_time())


class Child:
    """A started job: by `start`, or, from its process id and start (`uptime`), one that another process had started."""

    def __init__(self, mark: str, pid: int, started: float, process: subprocess.Popen[bytes] | None = None) -> None:
        self.mark, self.pid, self.started, self._process = mark, pid, started, process

    @classmethod
    def start(cls, order: Order, environment: Mapping[str, str]) -> "Child":
        """Start the gate; `go` lets the job begin. Raises OSError."""
        place = scratch(order.mark)
        _make_private(place)
        temporary = {"TMPDIR": str(place), "SPARK_LOCAL_DIRS": environment.get("SPARK_LOCAL_DIRS", str(place))}
        with order.log.open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "bc4all", *order.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **temporary, RUN_MARK: order.mark, RESULTS: str(order.results)},
                pass_fds=[order.slot],
                start_new_session=True,
            )
        return cls(order.mark, process.pid, started_at(psutil.Process(process.pid)), process)

    def go(self) -> None:
        """Open the gate."""
        gate = self._process.stdin if self._process else None
        if gate:
            with contextlib.suppress(BrokenPipeError):  # killed already, as the next look will show
                gate.write(b"go\n")
                gate.close()

    @property
    def ended(self) -> bool:
        """Whether its first process has ended."""
        if self._process:
            return self._process.poll() is not None
        try:
            process = psutil.Process(self.pid)
            other = abs(started_at(process) - self.started) > _SAME_START
            # After a new start of the machine a stranger can have its number, and be as old.
            environment = process.environ() if self.mark else {}
            stranger = bool(environment) and environment.get(RUN_MARK) != self.mark
            return other or stranger or process.status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # AccessDenied: another user's, so not ours
            return True

    @property
    def exit_code(self) -> int | None:
        """Its exit code (128 + N for a signal N, as shells say); None while it runs, and for an adopted child."""
        code = self._process.poll() if self._process else None
        return 128 - code if code is not None and code < 0 else code

    def signal(self, number: int) -> int:
        """Send a signal to everything that it started, and return to how many processes."""
        found = list(self._family())
        for process in found:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:  # ended in the meantime
                continue
        return len(found)

    def kill(self) -> int:
        """End everything that it started, at once; return how many processes that were."""
        killed = unseen = 0
        for _ in range(_KILLS):  # again, for what a descendant started between the look and the shot
            found = self.signal(signal.SIGKILL)
            if self._process:
                self._process.poll()  # so that it is no zombie
            unseen = 0 if found else unseen + 1
            if unseen > 1:
                break
            killed += found
            time.sleep(0.02)
        return killed

    def clear(self) -> None:
        """Remove what it left of temporary files, as one that is killed does: a model's, Spark's blocks."""
        shutil.rmtree(scratch(self.mark), ignore_errors=True)

    def _family(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                # While it becomes another program, a process has no environment: the first one is known without.
                mine = environment.get(RUN_MARK) == self.mark or (process.pid == self.pid and not environment)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or another user's
                continue


def cap(log: Path, limit: int) -> None:
    """Cut a log that grew over `limit` bytes to its newer half, in place: the job goes on writing at its end."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    with log.open("rb+") as file:
        file.seek(-limit // 2, os.SEEK_END)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.truncate()
        file.write(f"[the log was longer than {limit} bytes: its older half is gone]\n".encode() + kept)
