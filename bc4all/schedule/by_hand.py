"""Runs that `bin/submit.sh` started: into the same history as all others.

No process watches such a job. What it tells goes to a file of its own (`starter`), which the next command that opens
the history takes in; once the job has ended, however it did, the file goes.
"""

from datetime import UTC, datetime
from pathlib import Path

import psutil

from bc4all.schedule.child import started_at
from bc4all.schedule.history import SUBMIT, History, Run, iso
from bc4all.schedule.verdict import verdict
from bc4all.starter import ByHand, Report, read_report
from bc4all.state import State
from bc4all.variables import RESULTS

_SUBMIT = "bc4all.cli.submit"  # which has the environment that it was given until it becomes spark-submit


def take_in(state: State, history: History) -> None:
    """Write down what the jobs that were started by hand have told."""
    for file in state.results_by_hand():
        try:
            told_at, report = file.stat().st_mtime, read_report(file)
        except FileNotFoundError:  # another process has taken it in
            continue
        process = _process(report.by_hand, file) if report.by_hand else None
        if report.by_hand:
            with history.transaction():
                for run in _runs(history, report, report.by_hand, file.stem, process):
                    if run.client in report.results or process is None:
                        ended = "stopped" if report.interrupted else ""
                        history.finish(run, **verdict(run, Report(results=report.results), None, ended, told_at))
        if process is None:
            file.unlink(missing_ok=True)


def _process(about: ByHand, file: Path) -> psutil.Process | None:
    """Return the job's process while it lives: a stranger that got its number knows another file."""
    try:
        process = psutil.Process(about.pid)
        its = process.environ().get(RESULTS) == str(file) or _SUBMIT in process.cmdline()
        return process if its and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _runs(
    history: History, report: Report, about: ByHand, application: str, process: psutil.Process | None
) -> list[Run]:
    """Return those of its runs that have not ended by the history, each written down if it was not."""
    begun: dict[str, object] = {"application": application, "started": iso(about.at)}
    if process:
        begun |= {"pid": process.pid, "pid_started": started_at(process)}
    at = datetime.fromtimestamp(about.at, UTC).isoformat()
    for client in sorted(report.begun | report.results.keys()):
        added = history.add(client, about.job, about.day, at, SUBMIT, "running")
        if added:
            history.update([added.id], **begun)
    return [run for run in history.due_at(at) if run.application == application and run.state == "running"]
