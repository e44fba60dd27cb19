"""A wave: clients that are worked on in the same Spark jobs, each with a run, a journal and a failure of its own.

What is done for a client apart is a step: where it fails, that client leaves the wave, and no other. What is done for
all of them together fails for all, unless it can be one client's fault: then the wave is halved until that one is
alone.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from bc4all.config.clients import Client
from bc4all.data.failures import as_failure, may_be_one_clients
from bc4all.data.publishing import Publisher
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Done, Outcome
from bc4all.jobs.session import wave_phase
from bc4all.logs import log_context
from bc4all.registry.tracking import Run

log = logging.getLogger(__name__)

T = TypeVar("T")
_THREADS = 4  # for what waits on storage and on MLflow


@dataclass
class Member(Generic[T]):
    """A client in a wave, by its number; its run, and what the job has made of it so far."""

    number: int
    client: Client
    has: T
    seconds: float = 0.0  # of its own steps, and its share of what was done together
    attempt: ExitStack = field(default_factory=ExitStack)  # which ends when it leaves
    run: Run = field(init=False)
    publisher: Publisher = field(init=False)


class Wave(Generic[T]):
    """The clients of a wave, of which some have left."""

    def __init__(self, context: JobContext, job: str, new: Callable[[], T]) -> None:
        self._context, self._job, self._new = context, job, new
        self._begun = 0
        self._inside: set[int] = set()
        self._left: list[Done] = []
        self._kept_open: list[tuple[Member[T], Exception]] = []
        self._host: Member[T] | None = None

    def begin(self, clients: Sequence[Client]) -> list[Member[T]]:
        """Let clients in, with a run and a journal for each."""
        members = [Member(self._begun + place, client, self._new()) for place, client in enumerate(clients)]
        self._begun += len(members)
        self._inside |= {member.number for member in members}

        def begin(member: Member[T]) -> None:
            member.run, member.publisher = member.attempt.enter_context(self._context.attempt(member.client, self._job))

        return self.each(members, begin)

    def each(self, members: Sequence[Member[T]], step: Callable[[Member[T]], Any]) -> list[Member[T]]:
        """Do a step for each, and return those for which it succeeded. The others have left."""
        if len(members) == 1:
            done = [self._try(member, step) for member in members]
        else:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="step") as pool:
                running = [pool.submit(copy_context().run, self._try, member, step) for member in members]
                done = [one.result() for one in running]
        return [member for member, succeeded in zip(members, done, strict=True) if succeeded]

    def _try(self, member: Member[T], step: Callable[[Member[T]], Any]) -> bool:
        started = time.monotonic()
        begun = {"run_id": member.run.id} if hasattr(member, "run") else {}
        with log_context(client_id=member.client.id, **begun):
            try:
                step(member)
            except Exception as error:  # noqa: BLE001 - it is this client's, and told as its outcome
                member.seconds += time.monotonic() - started
                self.fail(member, error)
                return False
        member.seconds += time.monotonic() - started
        return True

    def fail(self, member: Member[T], error: Exception) -> None:
        """Let a client leave with its failure; if the wave stages in its run's folder, when that is over."""
        self._inside.discard(member.number)
        if member is self._host:
            self._kept_open.append((member, error))
            return
        try:
            member.attempt.__exit__(type(error), error, error.__traceback__)
        except Exception as second:  # noqa: BLE001 - the first one is why
            log.debug("%s: its run did not end: %s", member.client.id, second)
        self._left.append(Done(member.client, error, member.seconds))

    def finish(self, members: Sequence[Member[T]], step: Callable[[Member[T]], Outcome]) -> None:
        """Do a last step for each, which tells its outcome, and end its run."""

        def last(member: Member[T]) -> None:
            started = time.monotonic()
            outcome = step(member)
            member.attempt.close()
            self._inside.discard(member.number)
            self._left.append(Done(member.client, outcome, member.seconds + time.monotonic() - started))

        self.each(members, last)

    def inside(self, members: Sequence[Member[T]]) -> list[Member[T]]:
        """Return those of some that have not left."""
        return [member for member in members if member.number in self._inside]

    def left(self) -> Iterator[Done]:
        """Yield the clients that have left since this was asked last."""
        while self._left:
            yield self._left.pop(0)

    @contextmanager
    def together(self, members: Sequence[Member[T]], name: str) -> Iterator[None]:
        """Name the Spark jobs that are started inside, and share the time that they take."""
        started = time.monotonic()
        with wave_phase(self._context.spark, [member.client.id for member in members], self._job, name):
            yield
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
                self.fail(member, error)
            self._kept_open = []

    def halving(self, members: Sequence[Member[T]], work: Callable[[Sequence[Member[T]]], None]) -> Iterator[Done]:
        """Do what is done together, for all or, where that fails by what may be one client's fault, for each half."""
        try:
            work(members)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as some client's outcome
            rest = self.inside(members)
            if len(members) > 1 and may_be_one_clients(error):
                log.warning("%s: a wave of %d clients is halved: %s", self._job, len(rest), as_failure(error))
                yield from self.left()
                middle = len(rest) // 2
                for half in (rest[:middle], rest[middle:]):
                    if half:
                        yield from self.halving(half, work)
            else:
                for member in rest:
                    self.fail(member, error)
        yield from self.left()
