"""One run of one experiment in MLflow: what a job records while it works, and how it ended."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.validation import MAX_DATASET_SCHEMA_SIZE

from bc4all.errors import Failure
from bc4all.identity import RunId
from bc4all.kinds import NUMERIC, Features
from bc4all.redaction import redact

if TYPE_CHECKING:
    from bc4all.registry.tracking import Tracking

log = logging.getLogger(__name__)


class Run:
    """One run of one experiment; the job writes into it while it works."""

    def __init__(self, tracking: "Tracking", run_id: RunId, experiment_id: str) -> None:
        self._tracking, self._client, self.id, self.experiment_id = tracking, tracking.client, run_id, experiment_id

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Let the run end with the block: FINISHED, or FAILED with the reason as a tag where the block raises."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise
        self._tracking.ask(lambda: self._client.set_terminated(self.id, "FINISHED"))

    def fail(self, error: BaseException) -> None:
        """End the run by what was raised: FAILED, or KILLED where the job itself was to end."""
        status, reason = "FAILED" if isinstance(error, Exception) else "KILLED", redact(str(error))[:5000]
        try:
            self._tracking.ask(lambda: self._client.set_tag(self.id, "error", reason))
            self._tracking.ask(lambda: self._client.set_terminated(self.id, status))
        except Failure as failure:  # what ended the run is what matters
            log.warning("MLflow's run %s stays open: %s", self.id, failure)

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Record metrics, parameters and tags, in one request."""
        now = int(time.time() * 1000)
        values = [Metric(key, value, now, 0) for key, value in (metrics or {}).items()]
        settings = [Param(key, str(value)) for key, value in (params or {}).items()]
        made = [RunTag(key, str(value)) for key, value in (tags or {}).items()]
        self._tracking.ask(lambda: self._client.log_batch(self.id, metrics=values, params=settings, tags=made))

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        made = [RunTag(key, str(value)) for key, value in tags.items()]
        self._tracking.ask(lambda: self._client.log_batch(self.id, tags=made))

    def log_files(self, folder: Path) -> None:
        """Keep every file of a local folder as an artifact."""
        self._tracking.ask(lambda: self._client.log_artifacts(self.id, str(folder)))

    def log_dataset(self, folder: str, sha256: str, features: Features, rows: int) -> None:
        """Record which data went in, by digest."""
        columns = [{"type": kind, "name": name, "required": False} for name, kind in column_types(features)]
        entity = mlflow.entities.Dataset(
            name="products",
            digest=sha256[:36],  # MLflow keeps 36 characters
            source_type="bc4all",
            source=json.dumps({"uri": folder}),
            schema=_schema(columns),
            profile=json.dumps({"num_rows": rows, "sha256": sha256}),
        )
        used = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        self._tracking.ask(lambda: self._client.log_inputs(self.id, used))


def _schema(columns: list[dict[str, Any]]) -> str:
    """Return MLflow's text of a dataset's columns: of as many as it takes."""
    text = json.dumps({"mlflow_colspec": columns})
    if len(text) <= MAX_DATASET_SCHEMA_SIZE:
        return text
    return json.dumps({"mlflow_colspec": columns[: len(columns) * MAX_DATASET_SCHEMA_SIZE // (2 * len(text))]})


def column_types(features: Features) -> Iterator[tuple[str, str]]:
    """Return the name and MLflow's type of each feature's column."""
    return ((name, "double" if kind == NUMERIC else "string") for name, kind in features.items())
