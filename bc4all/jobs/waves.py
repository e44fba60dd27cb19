"""A wave: clients that are worked on in the same Spark jobs, each with a run, a journal and a failure of its own.

What is done for a client apart is a step: where it fails, that client leaves the wave, and no other. What is done for
all of them together fails for all, unless it can be one client's fault: then the wave is halved until that one is
alone.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from bc4all.config.clients import Client
from bc4all.data.failures import as_failure, may_be_one_clients
from bc4all.data.publishing import Publisher
from bc4all.errors import OutOfReach, TransientFailure
from bc4all.job_kinds import PREDICT, TRAIN
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Done, Outcome
from bc4all.jobs.session import java_has_ended, wave_name, wave_phase
from bc4all.logs import log_context
from bc4all.registry.run import Run

log = logging.getLogger(__name__)

T = TypeVar("T")
_THREADS = 4  # for what waits on storage and on MLflow
FINISHED_AT_ONCE = 20  # clients; their outcomes are reported after that, and what a kill leaves unreported runs again
_LAST = {TRAIN.name: "register", PREDICT.name: "publish"}  # what is done to a client last
_INTERRUPTED = TransientFailure("the job was interrupted", remedy="run it again")


@dataclass
class Member(Generic[T]):
    """A client in a wave, by its number; its run, and how far the job has come with it."""

    number: int
    client: Client
    progress: T
    seconds: float = 0.0  # of its own steps, and its share of what was done together
    attempt: ExitStack = field(default_factory=ExitStack)  # which ends when it leaves
    run: Run = field(init=False)
    publisher: Publisher = field(init=False)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time that the block takes to its own."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started


class Wave(Generic[T]):
    """The clients of a wave. Those that have not left it by its end fail."""

    def __init__(self, context: JobContext, job: str, new: Callable[[], T]) -> None:
        self._context, self._job, self._new = context, job, new
        self._begun = 0
        self._inside: dict[int, Member[T]] = {}
        self._left: list[Done] = []
        self._kept_open: list[tuple[Member[T], Exception]] = []
        self._host: Member[T] | None = None
        self._out_of_reach: OutOfReach | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        cause = error if isinstance(error, Exception) else _INTERRUPTED
        for member in list(self._inside.values()):
            self._leave(member, cause)

    def begin(self, clients: Sequence[Client]) -> list[Member[T]]:
        """Let clients in, with a run and a journal for each."""
        members = [Member(self._begun + place, client, self._new()) for place, client in enumerate(clients)]
        self._begun += len(members)
        self._inside |= {member.number: member for member in members}

        def enter(member: Member[T]) -> None:
            member.run, member.publisher = member.attempt.enter_context(self._context.attempt(member.client, self._job))

        with self.at(members, "start"):
            return self.each(members, enter)

    def each(self, members: Sequence[Member[T]], step: Callable[[Member[T]], Any]) -> list[Member[T]]:
        """Do a step for each, and return those for which it succeeded. The others have left.

        Where MLflow is out of reach for one, it is not asked for those after it. Once the job is interrupted, no step
        is begun.
        """
        if len(members) == 1:
            done = [self._try(member, step) for member in members]
        else:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="step") as pool:
                running = [pool.submit(copy_context().run, self._try, member, step) for member in members]
                done = [one.result() for one in running]
        return [member for member, succeeded in zip(members, done, strict=True) if succeeded]

    def _try(self, member: Member[T], step: Callable[[Member[T]], Any]) -> bool:
        begun = {"run_id": member.run.id} if hasattr(member, "run") else {}
        with log_context(client_id=member.client.id, **begun), member.timed():
            try:
                self._check_going_on()
                step(member)
            except Exception as error:  # noqa: BLE001 - it becomes this client's failure
                self.fail(member, error)
                return False
        return True

    def _check_going_on(self) -> None:
        if self._context.interrupted.is_set():
            raise _INTERRUPTED
        if self._out_of_reach is not None:
            raise self._out_of_reach

    def fail(self, member: Member[T], error: Exception) -> None:
        """Let a client leave with its failure; if the wave stages in its run's folder, when that is over."""
        if isinstance(error, OutOfReach):
            self._out_of_reach = error
        if member is self._host:
            self._inside.pop(member.number)
            self._kept_open.append((member, error))
        else:
            self._leave(member, error)

    def _leave(self, member: Member[T], error: Exception) -> None:
        self._inside.pop(member.number, None)
        try:
            member.attempt.__exit__(type(error), error, error.__traceback__)
        except Exception:  # of the run's end: the client has failed by the first error already
            if not java_has_ended(self._context.spark):  # else one line says so, for all clients
                log.exception("%s: its run did not end as it should", member.client.id)
        self._left.append(Done(member.client, error, member.seconds))

    def finish(self, members: Sequence[Member[T]], step: Callable[[Member[T]], Outcome]) -> None:
        """Do a last step for each, which tells its outcome, and end its run."""
        outcomes: dict[int, Outcome] = {}

        def end(member: Member[T]) -> None:
            outcomes[member.number] = step(member)
            member.attempt.close()

        with self.at(members, _LAST[self._job]):
            done = self.each(members, end)
        for member in done:
            del self._inside[member.number]
            self._left.append(Done(member.client, outcomes[member.number], member.seconds))

    def finishing(self, members: Sequence[Member[T]], last: Callable[[Member[T]], Outcome]) -> Iterator[Done]:
        """Finish those of some that have not left, some at a time; yield who has left, whenever some have."""
        rest = self.inside(members)
        for start in range(0, len(rest), FINISHED_AT_ONCE):
            self.finish(rest[start : start + FINISHED_AT_ONCE], last)
            yield from self.left()

    def inside(self, members: Sequence[Member[T]]) -> list[Member[T]]:
        """Return those of some that have not left."""
        return [member for member in members if member.number in self._inside]

    def left(self) -> Iterator[Done]:
        """Yield the clients that have left since this was asked last."""
        while self._left:
            yield self._left.pop(0)

    def at(self, members: Sequence[Member[T]], name: str) -> AbstractContextManager[None]:
        """Tell those who watch what is done to some for as long as a block lasts."""
        if not members:
            return nullcontext()
        return self._context.phases.at(f"{wave_name([member.client.id for member in members])} · {name}")

    @contextmanager
    def together(self, members: Sequence[Member[T]], name: str) -> Iterator[None]:
        """Name the Spark jobs that are started inside, and share the time that they take."""
        self._check_going_on()
        started = time.monotonic()
        clients = [member.client.id for member in members]
        try:
            with self.at(members, name), wave_phase(self._context.spark, clients, self._job, name):
                yield
        finally:
            for member in members:
                member.seconds += (time.monotonic() - started) / len(members)

    @contextmanager
    def staging(self, members: Sequence[Member[T]]) -> Iterator[str]:
        """Give a folder for what all of them stage together, below that of the first one's run, which stays open."""
        self._host = members[0]
        try:
            yield self._host.publisher.shared()
        finally:
            self._host = None
            for member, error in self._kept_open:
                self._leave(member, error)
            self._kept_open = []

    def halving(
        self,
        members: Sequence[Member[T]],
        work: Callable[[Sequence[Member[T]]], Iterator[Sequence[Member[T]]]],
        last: Callable[[Member[T]], Outcome],
    ) -> Iterator[Done]:
        """Do what is done together, then the last step for those that it yields; yield who has left, when some have.

        Where the first fails by what may be one client's fault, each half of those that are left is tried by itself.
        """
        halves: list[list[Member[T]]] = []
        try:
            for ready in work(members):
                yield from self.finishing(ready, last)
        except Exception as error:  # noqa: BLE001 - it becomes the failure of one client, or of all
            halves = self._halves(members, error)
        yield from self.left()
        for half in halves:
            yield from self.halving(half, work, last)

    def _halves(self, members: Sequence[Member[T]], error: Exception) -> list[list[Member[T]]]:
        """Return the halves that are to be tried after an error that may be one client's; else it is that of all."""
        rest = self.inside(members)
        if len(members) > 1 and may_be_one_clients(error):
            log.warning("%s: a wave of %d clients is halved: %s", self._job, len(rest), as_failure(error))
            middle = len(rest) // 2
            return [half for half in (rest[:middle], rest[middle:]) if half]
        for member in rest:
            self.fail(member, error)
        return []
