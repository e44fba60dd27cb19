"""MLflow's tracking server: experiments and runs, asked again while it may come back.

Works through MlflowClient with explicit run ids, so that clients trained side by side never share an active run.
"""

import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import requests
import stamina
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

import bc4all
from bc4all.config.clients import Client
from bc4all.errors import ConfigurationError, Failure, ModelError
from bc4all.identity import ClientId, Day, RunId
from bc4all.job_kinds import JOB_KINDS, TRAIN, JobKind
from bc4all.layout import Layout
from bc4all.redaction import redact
from bc4all.registry import mlflow_failures
from bc4all.registry.ownership import Store
from bc4all.registry.run import Run
from bc4all.variables import TRACKING_URI

log = logging.getLogger(__name__)
stamina.instrumentation.set_on_retry_hooks(())  # each failure is told here, in words that say what failed

_MAX_NAMED = 20  # clients whose experiments are asked for by name: of more, reading all is quicker
_PAGE = 1000  # experiments an answer
_RUNS_A_PAGE = 50  # runs an answer
ACTIVE = "active"  # of an experiment that was not deleted
_PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs

RETRY_TIMEOUT_S = 60.0  # seconds for which a server that fails is asked again
_WAIT_S = (0.2, 10.0)  # seconds between two questions, at first and at most
# MLflow would ask again on its own, for minutes, inside each of our questions; and wait two minutes for an answer. Its
# bars would stand in every log.
_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

_Answer = TypeVar("_Answer")


def tracking_uri(layout: Layout) -> str:
    """$MLFLOW_TRACKING_URI, by default a SQLite file under DATA_PREFIX.

    Raises ConfigurationError where neither can be.
    """
    given = os.environ.get(TRACKING_URI)
    if given:
        return given
    if layout.local_path is None:
        raise ConfigurationError(
            f"there is no place for MLflow's SQLite file below {layout.prefix}",
            remedy="set MLFLOW_TRACKING_URI to a server: bin/submit.sh reads it",
        )
    return f"sqlite:///{layout.local_path}/mlflow.db"


class Tracking:
    """The server behind one URI."""

    def __init__(self, uri: str, layout: Layout, patience: float = RETRY_TIMEOUT_S) -> None:
        """Connect; the first use of a SQLite file makes its tables, which several threads must not do at once."""
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        for name, value in _MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)  # the one way to tell MLflow's client
        self.uri, self._store, self._patience, self._answered = uri, Store(uri, layout), patience, True
        self._checked: dict[str, str] = {}  # experiments' ids by their names
        self.client = self.ask(lambda: MlflowClient(tracking_uri=uri, registry_uri=uri))
        self.ask(lambda: self.client.search_experiments(max_results=1))

    def ask(self, question: Callable[[], _Answer], missing: str = "") -> _Answer:
        """Return the answer; retry for up to `patience` seconds after a transient failure.

        Once that is over, the next questions are put once each, until one is answered: a fleet of a thousand clients
        does not wait for a dead server a thousand times. Raises ModelError for what is not there, where it is said what
        would then be `missing`; TransientFailure for what may pass; Failure for what MLflow refuses.
        """
        attempts = None if self._answered else 1
        try:
            for attempt in stamina.retry_context(
                on=mlflow_failures.may_pass,
                attempts=attempts,
                timeout=self._patience,
                wait_initial=_WAIT_S[0],
                wait_max=_WAIT_S[1],
            ):
                with attempt:
                    answer = question()
        except (MlflowException, requests.RequestException, SQLAlchemyError, OSError, ImportError) as error:
            self._answered = self._answered and not mlflow_failures.passes(error)
            raise mlflow_failures.failure(error, missing, self.uri) from error
        self._answered = True
        return answer

    def start_run(self, client: Client, kind: JobKind, day: Day, tags: Mapping[str, str]) -> Run:
        """Return a new run in the client's experiment of this kind."""
        described = {
            "client_id": client.id,
            "job": kind.run_name,
            "code_version": bc4all.__version__,
            "config_sha": client.sha,
        }
        name = experiment_name(kind, client.id)
        experiment = self._checked.get(name) or self._experiment(name)
        return self._create_run(experiment, f"{kind.run_name}_{day}", {**described, **tags})

    def _create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
        attempt = uuid.uuid4().hex
        asked: list[bool] = []

        def create() -> MlflowRun:
            """Return the run: the one that is there where this was asked before and the answer was lost."""
            made = self.client.search_runs([experiment], f"tags.attempt = '{attempt}'") if asked else []
            asked.append(True)
            if made:
                return made[0]
            return self.client.create_run(experiment, run_name=name, tags={**tags, "attempt": attempt})

        started = self.ask(create)
        return Run(self, RunId(str(started.info.run_id)), experiment)

    def record_child(
        self,
        parent: Run,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        error: str = "",
    ) -> None:
        """Record a run inside another one, begun and ended at once: FAILED where there was an error."""
        tags = {_PARENT: parent.id, **({"error": redact(error)[:5000]} if error else {})}
        child = self._create_run(parent.experiment_id, name, tags)
        child.log(metrics, params)
        self.ask(lambda: self.client.set_terminated(child.id, "FAILED" if error else "FINISHED"))

    def recent(self, client: Client, kind: JobKind, metric: str, version: int, count: int) -> list[float]:
        """Return a metric of the client's last runs of this kind with one version: the latest first, one a date."""
        experiment = self._experiment(experiment_name(kind, client.id))
        latest: dict[str, float] = {}
        for run in self.runs([experiment], f"tags.model_version = '{version}'"):  # a date may have a hundred
            if metric in run.data.metrics:
                latest.setdefault(str(run.info.run_name), run.data.metrics[metric])
            if len(latest) == count:
                break
        return list(latest.values())

    def runs(self, experiments: Sequence[str], which: str) -> Iterator[MlflowRun]:
        """Yield the runs of some experiments that fulfil a condition in MLflow's words: the latest first."""
        search = partial(self.client.search_runs, list(experiments), which, max_results=_RUNS_A_PAGE)
        token: str | None = None
        while True:
            found = self.ask(partial(search, page_token=token))
            yield from found
            token = found.token
            if not token:
                return

    def run_file(self, run_id: RunId, name: str) -> bytes:
        """Return the content of a run's file. Raises ModelError where it has no such file."""
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            file = self.ask(
                lambda: self.client.download_artifacts(run_id, name, scratch), f"run {run_id} has no file {name}"
            )
            return Path(file).read_bytes()

    def run_files(self, run_id: RunId, names: Sequence[str]) -> dict[str, bytes]:
        """Return the content of those of a run's files that it has, by name. Raises ModelError where there is no run.

        The run is looked up once: MLflow's client looks it up anew for each file, which takes longer than the file.
        """
        uri = self.ask(lambda: str(self.client.get_run(run_id).info.artifact_uri), f"there is no run {run_id}")
        files = self.ask(lambda: get_artifact_repository(uri, tracking_uri=self.uri))
        there = {entry.path for entry in self.ask(files.list_artifacts)}
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            wanted = [name for name in names if name in there]
            paths = {name: self.ask(partial(files.download_artifacts, name, scratch)) for name in wanted}
            return {name: Path(path).read_bytes() for name, path in paths.items()}

    def close_run(self, run_id: RunId) -> None:
        """End a run whose process was killed, and those inside it, if it has not ended and is still known."""
        try:
            run = self.ask(lambda: self.client.get_run(run_id), f"there is no run {run_id}")
        except ModelError:
            return
        if run.info.status != "RUNNING":
            return
        inside = f"tags.`{_PARENT}` = '{run_id}' AND attributes.status = 'RUNNING'"
        children = self.ask(lambda: self.client.search_runs([run.info.experiment_id], inside))
        for left in (*(RunId(str(child.info.run_id)) for child in children), run_id):
            self._kill(left)

    def _kill(self, run_id: RunId) -> None:
        self.ask(lambda: self.client.set_tag(run_id, "error", "its process was killed"))
        self.ask(lambda: self.client.set_terminated(run_id, "KILLED"))

    def experiments(self, client_ids: Sequence[ClientId] | None = None) -> list[Experiment]:
        """Return all experiments of these clients, or of every client."""
        if client_ids is not None and len(client_ids) <= _MAX_NAMED:
            names = [experiment_name(kind, one) for one in client_ids for kind in JOB_KINDS.values()]
            by_name = (self.ask(partial(self.client.get_experiment_by_name, name)) for name in names)
            return [experiment for experiment in by_name if experiment]
        families = [f"{kind.experiment}_" for kind in JOB_KINDS.values()]
        wanted = {family + one for family in families for one in client_ids or ()}
        found: list[Experiment] = []
        for family in families:
            search = partial(self.client.search_experiments, filter_string=f"name LIKE '{family}%'", max_results=_PAGE)
            pages = [self.ask(search)]
            while pages[-1].token:
                pages.append(self.ask(partial(search, page_token=pages[-1].token)))
            found += [one for page in pages for one in page if client_ids is None or one.name in wanted]
        return found

    def owner(self, experiment: Experiment) -> str | None:
        """Return the DATA_PREFIX that an experiment belongs to; None where nothing says."""
        return self._store.owner(experiment)

    def own_experiments(self, client_ids: Sequence[ClientId]) -> list[Experiment]:
        """Return those of these clients' experiments that are known to belong to this DATA_PREFIX."""
        own = (one for one in self.experiments(client_ids) if self._store.owner(one) is not None)
        return [one for one in own if not self._store.is_foreign(one) and one.lifecycle_stage == ACTIVE]

    def check_owner(self, client_ids: Sequence[ClientId]) -> None:
        """Raise ConfigurationError where an experiment of these clients belongs to another DATA_PREFIX.

        Those that are this one's are known from here on.
        """
        found = self.experiments(client_ids)
        self._store.check(found)
        known = (one for one in found if self._store.owner(one) is not None and one.lifecycle_stage == ACTIVE)
        self._checked = {one.name: str(one.experiment_id) for one in known}

    def training_place(self, client_id: ClientId) -> str:
        """Below which the files of all of a client's trainings lie."""
        experiment = self._experiment(experiment_name(TRAIN, client_id))
        return str(self.ask(lambda: self.client.get_experiment(experiment)).artifact_location)

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment of this name, made if there is none.

        Raises ConfigurationError where it belongs to another DATA_PREFIX, Failure where it was deleted.
        """
        found = self.ask(lambda: self.client.get_experiment_by_name(name))
        if found is None:
            try:
                return self.ask(
                    lambda: self.client.create_experiment(name, self._store.address(name), self._store.tags)
                )
            except Failure:
                found = self.ask(lambda: self.client.get_experiment_by_name(name))  # made by another job meanwhile?
                if found is None:
                    raise
        self._store.check([found])
        number = str(found.experiment_id)
        if found.lifecycle_stage != ACTIVE:
            restore = (
                f"restore it: {TRACKING_URI}={redact(self.uri)} mlflow experiments restore --experiment-id {number}"
            )
            raise Failure(f"MLflow's experiment {name} was deleted", remedy=restore)
        if self._store.owner(found) is None:  # made by a release that did not say
            for key, value in self._store.tags.items():
                self.ask(partial(self.client.set_experiment_tag, number, key, value))
        return number


def experiment_name(kind: JobKind, client_id: ClientId) -> str:
    """Return what a client's experiment of a kind is called."""
    return f"{kind.experiment}_{client_id}"
