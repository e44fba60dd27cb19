"""What every client's job works with: Spark, the layout, MLflow, the date; and the frame of an attempt around it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Event
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.data.filesystem import FileSystem
from bc4all.data.journal import Journal
from bc4all.data.publishing import Publisher, publishing
from bc4all.errors import Failure
from bc4all.identity import Day
from bc4all.job_kinds import JOB_KINDS
from bc4all.jobs.phases import Phases
from bc4all.layout import Layout
from bc4all.registry.run import Run
from bc4all.registry.versions import Registry
from bc4all.state import State

if TYPE_CHECKING:
    from bc4all.learning.tasks import SparkTasks


@dataclass(frozen=True)
class JobContext:
    """What every client's job works with. `day` (YYYY-MM-DD) names the run and the partitions that it writes.

    `state` has the locks that keep a client's job from running twice.
    """

    spark: SparkSession
    layout: Layout
    registry: Registry
    day: Day
    state: State
    interrupted: Event = field(default_factory=Event)  # by Ctrl-C: nothing more is begun
    phases: Phases = field(default_factory=Phases)
    backfilled: bool = False  # whether `day` is past, and what is read was delivered later

    @cached_property
    def files(self) -> FileSystem:
        """The storage of all data."""
        return FileSystem(self.spark, self.layout.prefix)

    @cached_property
    def _application(self) -> dict[str, str]:
        """What runs say of the application that they belong to."""
        context = self.spark.sparkContext
        page = {"application_page": context.uiWebUrl} if context.uiWebUrl else {}
        return {"application_id": context.applicationId, **page}

    def tasks(self, client: Client, job: str) -> "SparkTasks":
        """Return where a large client is fitted: a phase on a terminal says how far it is, a line a minute the log."""
        from bc4all.learning.tasks import SparkTasks  # with scikit-learn, which a prediction may do without

        return SparkTasks(self.spark, f"{client.id}: {job}", partial(self.phases.at, client.id))

    def _refuse_forgotten(self, client: Client) -> None:
        mark = self.layout.forgetting(client.id)
        if self.files.exists(mark):
            remedy = f"bc4all forget --client-id {client.id} --confirm ends it"
            raise Failure("`bc4all forget` of this client has not come to its end", mark, remedy)

    @contextmanager
    def attempt(self, client: Client, job: str) -> Iterator[tuple[Run, Publisher]]:
        """Be alone with the client, and open a run in MLflow and its journal.

        The journal is there before anything is done, and goes when all is. Raises TransientFailure where another
        process is at the same job of the client, Failure where the client is being forgotten.
        """
        with self.state.exclusive(client.id, job), ExitStack() as stack:
            self._refuse_forgotten(client)
            run = self.registry.tracking.start_run(client, JOB_KINDS[job], self.day, self._application)
            journal = Journal(run.id, client.id, job, self.day, self.state.id)
            try:
                publisher = stack.enter_context(publishing(self.files, self.layout, journal))
            except BaseException as error:  # no journal, by which the next run would end this one
                run.fail(error)
                raise
            stack.enter_context(run.recorded())
            self._refuse_forgotten(client)  # once more: `forget` looks for journals after its mark, this the other way
            yield run, publisher
