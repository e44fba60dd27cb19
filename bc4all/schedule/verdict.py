"""What became of a run, by what its job has told and by how its process has ended; and whether it is tried again."""

from typing import Any

from bc4all.config.clients import Fleet
from bc4all.errors import EXIT_INTERRUPTED, EXIT_JAVA_MEMORY, EXIT_OK, EXIT_TERMINAL, EXIT_TRANSIENT
from bc4all.schedule.history import SCHEDULED, Run, iso
from bc4all.starter import Report

_SIGNAL = 128  # an exit code above it is a signal's, as shells tell it
# The columns of a run that is queued again, as if it had not been started.
WAITING: dict[str, Any] = {
    "state": "queued",
    **dict.fromkeys(("application", "pid", "pid_started", "started", "log")),
}


def verdict(run: Run, report: Report, code: int | None, stopping: str, now: float) -> dict[str, Any]:
    """Return the columns of a run whose process has ended.

    Where that ended with others, a client that it had not come to is queued again, and has lost no attempt. So is, to
    run alone, one that it had begun with others when its time was over.
    """
    result = report.results.get(run.client)
    if result is None and report.begun and code != EXIT_OK:
        waiting = WAITING | {"not_before": now}
        if run.client not in report.begun:
            return waiting
        if stopping == "timeout" and len(report.begun - report.results.keys()) > 1:
            return waiting | {"alone": True}
    if result is None and code == EXIT_TERMINAL and run.client in report.begun and report.results:
        return {"ended": iso(now), "state": "lost", "exit_code": code, "error": "its outcome was not told: see its log"}
    if early := _early_end(report, code, stopping):
        return {"ended": iso(now), "state": "lost", "exit_code": code, "error": early}
    return {"ended": iso(now), **_end(result, code, stopping)}


def _early_end(report: Report, code: int | None, stopping: str) -> str:
    """Return how a job ended before it had begun with any client, where trying again may help; else nothing."""
    if not report.launched or report.begun or report.results:
        return ""
    if stopping == "timeout":
        return "its time was over before any client was begun: see its log"
    # Spark's script ends so where its Java, which finds the command out, was killed.
    is_undriven = code == EXIT_TERMINAL and not report.driver_runs and not stopping
    return "ended before its driver ran: see its log" if is_undriven else ""


def _end(result: dict[str, Any] | None, code: int | None, stopping: str) -> dict[str, Any]:
    """Return what a run ended with: by the job's own word on this client, else by how the process ended."""
    if result:
        state = "done" if result["exit_code"] == EXIT_OK else "failed"
        names = {"run_id": "mlflow_run", "version": "version", "top_5": "top_5", "rows": "rows"}
        told = {new: result[old] for old, new in names.items()} | {"note": result.get("note") or None}
        error = str(result["error"]).partition(" failed: ")[2] or result["error"]  # whose it is, the run says already
        return {"state": state, "exit_code": result["exit_code"], "error": error, **told}
    if stopping:
        return {"state": stopping, "exit_code": code, "error": f"told to end: {stopping}"}
    if code is None:
        return {"state": "lost", "error": "lost: no exit status"}
    if code == EXIT_JAVA_MEMORY:
        return {"state": "lost", "exit_code": code, "error": "Java ran out of memory (raise --driver-memory)"}
    if code > _SIGNAL and code != EXIT_INTERRUPTED:  # out of memory, a machine that is shut down
        return {"state": "lost", "exit_code": code, "error": f"its process was ended by signal {code - _SIGNAL}"}
    if code == EXIT_OK:  # a driver on another machine, which cannot write results here
        return {"state": "done", "exit_code": code}
    return {"state": "failed", "exit_code": code, "error": f"ended with exit code {code}: see its log"}


def retry_in(fleet: Fleet, run: Run) -> float | None:
    """Return the seconds after which a run is tried again; None where it is not."""
    client = fleet.clients.get(run.client)
    if client is None:
        return None
    timing = client.timing(run.job)
    if run.state == "stopped":  # for the next start
        return 0.0 if run.trigger in SCHEDULED else None
    may = run.exit_code == EXIT_TRANSIENT if run.state == "failed" else run.state == "lost"
    if not may or run.attempt > timing.retries:
        return None
    return float(timing.retry_delay * 2 ** (run.attempt - 1))
