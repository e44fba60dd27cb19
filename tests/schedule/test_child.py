"""A job as a real process: it begins when it is written down, and nothing that it started outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bc4all.schedule.child import Child, Order, cap, scratch, started_at
from bc4all.state import State, try_lock
from bc4all.variables import RUN_MARK

# Ignores TERM, and leaves a grandchild behind that has a session of its own and ignores it, too.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
detached = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", detached], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start children of this test's; all are gone when it is over."""
    started = []

    def make(*command: str) -> Child:
        slot = State(tmp_path).slot(1)
        assert slot is not None
        order = Order(command, f"{tmp_path}:{len(started)}", tmp_path / "log", tmp_path / "results", slot)
        child = Child.start(order, os.environ)
        os.close(slot)
        started.append(child)
        return child

    yield make
    for child in started:
        child.kill()


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def family(mark: str) -> list[int]:
    """The processes that carry a mark, looked for without the code under test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, state = (folder / "environ").read_bytes(), (folder / "stat").read_text().rpartition(")")[2]
        except OSError:
            continue
        if f"{RUN_MARK}={mark}\0".encode() in environment and state.split()[0] != "Z":
            found.append(int(folder.name))
    return found


def test_begins_only_when_it_is_let(start: Callable[..., Child], tmp_path: Path) -> None:
    """The command does not run before `go`; then it runs, and its exit code and output are kept."""
    child = start("/bin/sh", "-c", "echo begun; exit 75")
    time.sleep(0.3)
    assert not child.ended
    assert (tmp_path / "log").read_text() == ""
    child.go()
    wait_for(lambda: child.ended)
    assert child.exit_code == 75
    assert (tmp_path / "log").read_text() == "begun\n"


def test_never_begins_when_its_parent_dies_before(tmp_path: Path) -> None:
    """A parent that is killed between starting the child and writing it down leaves nothing that runs."""
    program = (
        "import os, signal, pathlib\nfrom bc4all.schedule.child import Child, Order\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "order = Order(['/bin/sh', '-c', f'touch {folder}/begun'], 'dies', folder / 'log', folder / 'r', 1)\n"
        "Child.start(order, os.environ)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not family("dies"))
    assert not (tmp_path / "begun").exists()
    Child("dies", 0, 0.0).clear()


def test_a_stubborn_job_and_its_detached_grandchild_are_gone(start: Callable[..., Child], tmp_path: Path) -> None:
    """TERM reaches both, which ignore it; KILL ends both, though the grandchild left the group and the session."""
    child = start(sys.executable, "-c", STUBBORN)
    child.go()
    wait_for(lambda: (tmp_path / "log").read_text())
    pids = [int(word) for word in (tmp_path / "log").read_text().split()]
    assert sorted(family(child.mark)) == sorted(pids)
    assert child.signal(signal.SIGTERM) == 2
    time.sleep(0.3)
    assert len(family(child.mark)) == 2
    assert child.kill() >= 2
    assert not family(child.mark)
    assert child.ended
    assert child.exit_code == 128 + signal.SIGKILL


def test_another_process_can_take_it_over(start: Callable[..., Child]) -> None:
    """By number and start time; a number that is another process's now is not taken for it."""
    child = start("/bin/sleep", "600")
    child.go()
    adopted = Child(child.mark, child.pid, child.started)
    assert not adopted.ended
    assert Child(child.mark, child.pid, child.started - 60).ended
    assert adopted.kill() == 1
    wait_for(lambda: child.ended)
    assert adopted.ended
    assert adopted.exit_code is None


def test_keeps_its_place_as_long_as_it_lives(start: Callable[..., Child], tmp_path: Path) -> None:
    """The slot that a child inherited is taken, though the parent has closed it, until the child has ended."""
    child = start("/bin/sleep", "600")
    child.go()
    assert State(tmp_path).slot(1) is None
    child.kill()
    slot = State(tmp_path).slot(1)
    assert slot is not None
    os.close(slot)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A process that is killed with a lock in its hands leaves it free."""
    program = (
        f"from bc4all.state import try_lock; import pathlib, time; try_lock(pathlib.Path({str(tmp_path / 'lock')!r}))\n"
        "print('locked', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        assert try_lock(tmp_path / "lock") is None
        psutil.Process(holder.pid).kill()
    lock = try_lock(tmp_path / "lock")
    assert lock is not None
    os.close(lock)


def test_a_log_is_cut_to_its_newer_half(tmp_path: Path) -> None:
    """A log over its limit loses its older half, line by line, while the job goes on writing at its end."""
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as job:
        for number in range(1000):
            job.write(b"line %d\n" % number)
        cap(log, 100_000)
        assert log.read_text().startswith("line 0\n")
        cap(log, 4_000)
        job.write(b"the last\n")
    lines = log.read_text().splitlines()
    assert "older half is gone" in lines[0]
    assert lines[-2:] == ["line 999", "the last"]
    assert log.stat().st_size < 4_000
    assert all(line.startswith("line ") for line in lines[1:-1])


def test_a_stranger_of_the_same_number_and_age_is_not_it() -> None:
    """After a machine's new start, another process can have the number of one that was written down, and its age."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        age = started_at(psutil.Process(process.pid))
        wait_for(lambda: Child("somebody's:train-1", process.pid, age).ended)
        assert not Child("", process.pid, age).ended
    finally:
        process.kill()
        process.wait()


def test_its_temporary_files_are_its_own(start: Callable[..., Child], tmp_path: Path) -> None:
    """Nobody else looks into its folder; where somebody has made it before, the job is not started."""
    child = start("/bin/sh", "-c", "true")
    assert scratch(child.mark).stat().st_mode & 0o777 == 0o700
    child.kill()
    planted = scratch(f"{tmp_path}:1")
    planted.symlink_to(tmp_path)
    try:
        with pytest.raises(PermissionError, match="is not this user's own"):
            start("/bin/sh", "-c", "true")
    finally:
        planted.unlink()
        child.clear()
