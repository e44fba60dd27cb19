"""Many clients in one Spark application: several at a time, each one's failure its own, one table, one exit code.

Clients come in waves, which are worked on as one. What happens to a wave is passed in as a function; nothing here knows
what training or prediction is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import NamedTuple

from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from bc4all.config.clients import Client
from bc4all.data.failures import as_failure
from bc4all.errors import EXIT_OK, EXIT_TERMINAL, EXIT_TRANSIENT, Failure, TransientFailure, Untrained
from bc4all.identity import ClientId, RunId
from bc4all.jobs.phases import Phases
from bc4all.jobs.session import java_has_ended
from bc4all.logs import log_context

log = logging.getLogger(__name__)
outcome_log = logging.getLogger("bc4all.outcome")


@dataclass(frozen=True)
class Outcome:
    """What became of one client. `rows` are those accepted; None where the job did not come that far."""

    client_id: ClientId
    rows: int | None = None
    quarantined: int | None = None
    top_5: float | None = None
    version: int | None = None
    seconds: float = 0.0
    error: str | None = None
    exit_code: int = EXIT_OK
    run_id: RunId | None = None  # MLflow's
    note: str = ""  # what readers of the log should know of one that is done
    drifted: bool = False  # whether its products have drifted, and lastingly
    untrained: bool = False  # whether it failed because the client has no model yet


class Done(NamedTuple):
    """What became of one client, or what was raised for it, and the seconds that it took."""

    client: Client
    result: Outcome | Exception
    seconds: float


Work = Callable[[Sequence[Client]], Iterator[Done]]


def alone(work: Callable[[Client], Outcome]) -> Work:
    """Return the work of a wave that is done for one client after the other."""

    def one_by_one(clients: Sequence[Client]) -> Iterator[Done]:
        for client in clients:
            started = time.monotonic()
            result: Outcome | Exception
            with log_context(client_id=client.id):
                try:
                    result = work(client)
                except Exception as error:  # noqa: BLE001 - it is this client's, and told as its outcome
                    result = error
            yield Done(client, result, time.monotonic() - started)

    return one_by_one


def run_waves(
    spark: SparkSession,
    job: str,
    waves: Sequence[Sequence[Client]],
    work: Work,
    max_parallel: int,
    console: Console | None = None,
    tell: Callable[[Outcome], None] = lambda outcome: None,
    begin: Callable[[Sequence[Client]], None] = lambda wave: None,
    interrupted: threading.Event | None = None,
    phases: Phases | None = None,
    large: Sequence[Sequence[Client]] = (),
) -> list[Outcome]:
    """Do `work` for every wave, `max_parallel` at a time, and return the outcomes in the waves' order.

    Those of `large` begin when all others have ended, so that no small client waits for a large one's tasks. `begin` is
    called with each wave before it is worked on, `tell` with each outcome as soon as it is there. No client's failure
    reaches another. Ctrl-C cancels what runs, sets `interrupted`, by which work knows that nothing more is to be begun,
    and is raised again. A terminal shows the `phases` beside how many clients are done. Raises TransientFailure where
    the driver's Java has ended: no client can go on without it.
    """
    console = console or Console(stderr=True)
    clients = [client for wave in (*waves, *large) for client in wave]
    done: dict[ClientId, Outcome] = {}
    outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
    interrupted = interrupted or threading.Event()
    pool = ThreadPoolExecutor(max_parallel, thread_name_prefix="wave")

    def attempt(wave: Sequence[Client], before: Sequence[Future[None]]) -> None:
        wait(before)  # which have all begun: the pool takes them in their order
        if not interrupted.is_set() and not any(one.exception() for one in before):
            _attempt(spark, job, wave, work, begin, outcomes.put)

    try:
        running = _submit(pool, spark, waves, large, attempt)
        with _progress(console, job, len(clients), phases or Phases()) as advance:
            for outcome in _received(running, outcomes):
                done[outcome.client_id] = outcome
                tell(outcome)
                advance(outcome)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        interrupted.set()
        if not java_has_ended(spark):
            spark.sparkContext.cancelAllJobs()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [done[client.id] for client in clients]


def _submit(
    pool: ThreadPoolExecutor,
    spark: SparkSession,
    waves: Sequence[Sequence[Client]],
    large: Sequence[Sequence[Client]],
    attempt: Callable[[Sequence[Client], Sequence[Future[None]]], None],
) -> list[Future[None]]:
    """Let `attempt` be called with each wave, and with what is to end before it."""
    running = list[Future[None]]()
    for place, wave in enumerate((*waves, *large)):
        before = running[: len(waves)] if place >= len(waves) else []
        # Each with Spark properties and a log context of its own: what it sets is its alone.
        running.append(pool.submit(copy_context().run, inheritable_thread_target(spark)(attempt), wave, before))
    return running


def _received(running: Sequence[Future[None]], outcomes: "SimpleQueue[Outcome | None]") -> Iterator[Outcome]:
    """Yield what waves put into a queue until all of them have ended. Raises what is raised for a wave as a whole."""
    for one in running:
        one.add_done_callback(lambda _: outcomes.put(None))
    for _ in running:
        while (outcome := outcomes.get()) is not None:
            yield outcome
        for future in running:
            if future.done():
                future.result()


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """75 where a retry may help some client, else 1 where one failed for good, else 0."""
    failed = {outcome.exit_code for outcome in outcomes} - {EXIT_OK}
    if EXIT_TRANSIENT in failed:
        return EXIT_TRANSIENT
    return EXIT_TERMINAL if failed else EXIT_OK  # also for one whose own code says configuration: others were done


def summary(job: str, outcomes: Sequence[Outcome]) -> Table:
    """Return the table that a job ends with."""
    table = Table(title=f"{job}: {len(outcomes)} client{'s' if len(outcomes) != 1 else ''}", title_justify="left")
    table.add_column("client")
    table.add_column("state")
    for name in ("rows", "quarantined", "top-5", "version", "seconds"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        table.add_row(
            outcome.client_id,
            _state(outcome),
            _shown(outcome.rows, ",d"),
            _shown(outcome.quarantined, ",d"),
            _shown(outcome.top_5, ".3f"),
            _shown(outcome.version, "d"),
            f"{outcome.seconds:.1f}",
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _state(outcome: Outcome) -> str:
    if outcome.error is None:
        return "done, see log" if outcome.note else "done"
    return "failed, retry" if outcome.exit_code == EXIT_TRANSIENT else "failed"


def _attempt(
    spark: SparkSession,
    job: str,
    wave: Sequence[Client],
    work: Work,
    begin: Callable[[Sequence[Client]], None],
    put: Callable[[Outcome], None],
) -> None:
    """Work on a wave from start to end: the boundary at which each client's failure becomes an outcome."""
    begin(wave)
    # A pool for each place: among jobs of one pool the first goes first, however long it is.
    spark.sparkContext.setLocalProperty("spark.scheduler.pool", threading.current_thread().name)
    for done in _all_of(wave, work):
        with log_context(client_id=done.client.id):
            put(_outcome(spark, job, done))


def _all_of(wave: Sequence[Client], work: Work) -> Iterator[Done]:
    """Yield what became of each client, whatever the wave itself comes to."""
    waiting = {client.id: client for client in wave}
    try:
        for done in work(wave):
            del waiting[done.client.id]
            yield done
        error: Exception = Failure("nothing became of it", remedy="this is a fault of bc4all: see the log")
    except Exception as raised:  # noqa: BLE001 - other waves go on
        error = raised
    for client in waiting.values():
        yield Done(client, error, 0.0)


def _outcome(spark: SparkSession, job: str, done: Done) -> Outcome:
    client_id, result = done.client.id, done.result
    if isinstance(result, Exception):
        if java_has_ended(spark):  # which is no client's fault; how Java ended is printed
            remedy = "it ran out of memory (raise --driver-memory), or was killed; run it again"
            raise TransientFailure("the driver's Java has ended", remedy=remedy) from result
        failure = as_failure(result)
        if failure is not result:  # unforeseen: its traceback helps
            log.info("%s: %s failed", client_id, job, exc_info=result)
        error, untrained = f"{client_id}: {job} failed: {failure}", isinstance(failure, Untrained)
        result = Outcome(client_id, error=error, exit_code=failure.exit_code, untrained=untrained)
    outcome = replace(result, seconds=done.seconds)
    outcome_log.log(logging.ERROR if outcome.error else logging.INFO, "%s", _line(job, outcome))
    return outcome


class _Going(ProgressColumn):
    """What goes on, on what is left of the line."""

    def __init__(self, phases: Phases) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=1))
        self._phases = phases

    def render(self, task: Task) -> Text:
        """Return it as it is now; a bar asks ten times a second."""
        return Text(str(self._phases), style="dim")


@contextmanager
def _progress(console: Console, job: str, total: int, phases: Phases) -> Iterator[Callable[[Outcome], None]]:
    """Show a bar and what goes on on a terminal, a line per client in a log."""
    if not console.is_terminal:
        count = iter(range(1, total + 1))
        yield lambda outcome: print(f"[{next(count)}/{total}] {_line(job, outcome)}", file=console.file, flush=True)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Going(phases)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(job, total=total)

        def advance(outcome: Outcome) -> None:
            progress.advance(bar)
            progress.update(bar, description=f"{job} · {outcome.client_id} {_state(outcome)}")
            if outcome.error or outcome.note:
                style = "red" if outcome.error else "yellow"
                told = outcome.error or f"{outcome.client_id}: {outcome.note}"
                progress.console.print(told, style=style, highlight=False, soft_wrap=True, markup=False)

        yield advance


def _line(job: str, outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error
    rows, refused = outcome.rows or 0, outcome.quarantined or 0
    note = f"; {outcome.note}" if outcome.note else ""
    return f"{outcome.client_id}: {job} done, {rows} rows, {refused} quarantined, {outcome.seconds:.1f} s{note}"
