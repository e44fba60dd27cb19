"""MLflow: experiments, runs, registered versions, aliases. The only module that imports mlflow.

Works through MlflowClient with explicit run ids, so that clients trained side by side never share an active run. A
version is resolved to its number, downloaded, checked against the digests in its tags, and read by `model_file`:
MLflow's own loader, which runs code that lies in an artifact, is never asked.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

import bc4all
from bc4all.config import Client
from bc4all.errors import ConfigurationError, ModelError, TransientFailure
from bc4all.layout import Layout
from bc4all.model_file import FOREST_FILE, SKOPS_FILE, digest, load_model, save_model
from bc4all.scoring import Model

CHAMPION = "champion"
TRAINING, PREDICTION = "training", "prediction"
_EXPERIMENTS = {TRAINING: "ProductCategoriesClassification", PREDICTION: "ProductCategoriesPrediction"}
_MLMODEL = "MLmodel"
_DATA = "data/model"  # where mlflow.pyfunc.save_model copies the folder `model` to


@dataclass(frozen=True)
class Version:
    """One registered version of a client's model: where it lies, and what it must be."""

    name: str
    number: int
    uri: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """A model that was checked and read, with the feature columns of its signature."""

    version: Version
    model: Model
    features: tuple[str, ...]


def tracking_uri(layout: Layout) -> str:
    """$MLFLOW_TRACKING_URI, by default a SQLite file under DATA_PREFIX.

    Raises ConfigurationError where neither can be.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    if layout.local_path is None:
        raise ConfigurationError(
            f"there is no place for MLflow's SQLite file below {layout.prefix}",
            remedy="set MLFLOW_TRACKING_URI to a server: bin/submit.sh reads it",
        )
    return f"sqlite:///{layout.local_path}/mlflow.db"


class Run:
    """One run of one experiment; the job writes into it while it works."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client, self.id, self.experiment_id = client, run_id, experiment_id

    def log(self, metrics: Mapping[str, float] | None = None, params: Mapping[str, Any] | None = None) -> None:
        """Record metrics and parameters, in one request."""
        now = int(time.time() * 1000)
        with _mlflow_answers():
            self._client.log_batch(
                self.id,
                metrics=[Metric(key, value, now, 0) for key, value in (metrics or {}).items()],
                params=[Param(key, str(value)) for key, value in (params or {}).items()],
            )

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        with _mlflow_answers():
            self._client.log_batch(self.id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_files(self, folder: Path) -> None:
        """Keep every file of a local folder as an artifact."""
        with _mlflow_answers():
            self._client.log_artifacts(self.id, str(folder))

    def log_dataset(self, folder: str, sha256: str, features: Sequence[str], rows: int) -> None:
        """Record which data went in, by digest."""
        columns = [{"type": "double", "name": name, "required": False} for name in features]
        entity = mlflow.entities.Dataset(
            name="products",
            digest=sha256[:36],  # MLflow keeps 36 characters
            source_type="bc4all",
            source=json.dumps({"uri": folder}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": rows, "sha256": sha256}),
        )
        with _mlflow_answers():
            self._client.log_inputs(self.id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


class Registry:
    """The tracking server and model registry behind one URI."""

    def __init__(self, uri: str, layout: Layout) -> None:
        """Connect; the first use of a SQLite file makes its tables, which several threads must not do at once."""
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._uri, self._layout = uri, layout
        with _mlflow_answers():
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._client.search_experiments(max_results=1)

    @contextmanager
    def run(self, client: Client, kind: str, day: str, tags: Mapping[str, str]) -> Iterator[Run]:
        """A run that ends FINISHED, or FAILED with the reason as a tag where the block raises."""
        name = f"{_EXPERIMENTS[kind]}_{client.id}"
        described = {"client_id": client.id, "job": kind, "code_version": bc4all.__version__, "config_sha": client.sha}
        with _mlflow_answers():
            experiment = self._experiment(name)
            started = self._client.create_run(experiment, run_name=f"{kind}_{day}", tags={**described, **tags})
        run = Run(self._client, started.info.run_id, experiment)
        try:
            yield run
        except BaseException as error:
            with _mlflow_answers():
                self._client.set_tag(run.id, "error", str(error)[:5000])
                self._client.set_terminated(run.id, "FAILED")
            raise
        with _mlflow_answers():
            self._client.set_terminated(run.id, "FINISHED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        # A server places artifacts itself; beside a plain database MLflow would put them in the current directory.
        place = f"{self._layout.prefix}/mlartifacts/{name}" if _is_database(self._uri) else None
        try:
            return self._client.create_experiment(name, artifact_location=place)
        except MlflowException:
            found = self._client.get_experiment_by_name(name)  # another job made it in the meantime
            if found is None:
                raise
            return str(found.experiment_id)

    def register(self, client: Client, run: Run, model: Model, example: pd.DataFrame) -> Version:
        """Save `model` with its signature and an example, and register it as the client's next version."""
        name = model_name(client.id)
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch, _mlflow_answers():
            tags = _write_model(Path(scratch), client, model, example)
            logged = self._client.create_logged_model(
                run.experiment_id, name="model", source_run_id=run.id, model_type=client.model, tags=tags
            )
            self._client.log_model_artifacts(logged.model_id, str(Path(scratch) / "saved"))
            self._client.finalize_logged_model(logged.model_id, "READY")
            self._client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, 0)])
            self._make_registered_model(name, client)
            made = self._client.create_model_version(
                name, logged.artifact_location, run_id=run.id, tags=tags, model_id=logged.model_id
            )
        return Version(name, int(made.version), str(logged.artifact_location), tags)

    def _make_registered_model(self, name: str, client: Client) -> None:
        try:
            self._client.create_registered_model(name, tags={"client_id": client.id})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def set_alias(self, version: Version, alias: str) -> None:
        """Let `alias` point to `version`."""
        with _mlflow_answers():
            self._client.set_registered_model_alias(version.name, alias, str(version.number))

    def find(self, client_id: str, number: int | None = None) -> Version:
        """The client's champion, or its version `number`. Raises ModelError where there is none."""
        name = model_name(client_id)
        wanted = CHAMPION if number is None else f"version {number}"
        with _mlflow_answers(f"{name} has no {wanted}", "train the client first: bin/submit.sh train"):
            if number is None:
                found = self._client.get_model_version_by_alias(name, CHAMPION)
            else:
                found = self._client.get_model_version(name, str(number))
            uri = self._client.get_model_version_download_uri(name, found.version)
        return Version(name, int(found.version), uri, dict(found.tags))

    def load(self, client_id: str, version: Version) -> LoadedModel:
        """Download a version and read it. Raises ModelError where it is not what this client registered."""
        where = f"{version.name} version {version.number}"
        wanted = {key: version.tags.get(key, "") for key in ("client_id", "model_file", "sha256", "mlmodel_sha256")}
        if wanted["client_id"] != client_id or wanted["model_file"] not in (FOREST_FILE, SKOPS_FILE):
            raise ModelError(
                "the version was not registered by bc4all for this client", where, "train the client again"
            )
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            with _mlflow_answers(f"{where} has no files", "train the client again"):
                description = self._download(f"{version.uri}/{_MLMODEL}", scratch)
                file = self._download(f"{version.uri}/{_DATA}/{wanted['model_file']}", scratch)
            if digest(description) != wanted["mlmodel_sha256"]:
                raise ModelError(f"its {_MLMODEL} is not the one that was registered", where, "train the client again")
            model = load_model(file, wanted["sha256"])
            return LoadedModel(version, model, _signature_features(description))

    def _download(self, uri: str, folder: str) -> Path:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder, tracking_uri=self._uri))


def model_name(client_id: str) -> str:
    """The client's name in the model registry."""
    return f"{client_id}_model"


def _write_model(scratch: Path, client: Client, model: Model, example: pd.DataFrame) -> dict[str, str]:
    """Write MLflow's model folder to `scratch/saved` and return the tags that identify it."""
    source = scratch / "model"
    source.mkdir()
    file = save_model(model, source)
    (source / "features.txt").write_text("\n".join(client.features) + "\n")
    given: list[ColSpec | TensorSpec] = [ColSpec("string", "product_id", required=False)]
    given += [ColSpec("double", name, required=False) for name in client.features]
    kinds = (("string", "product_id"), ("string", "pred_label"), ("float", "pred_score"), ("integer", "rank"))
    saved = scratch / "saved"
    mlflow.pyfunc.save_model(
        str(saved),
        loader_module="bc4all.pyfunc",
        data_path=str(source),
        signature=ModelSignature(Schema(given), Schema([ColSpec(kind, name) for kind, name in kinds])),
        input_example=example,
        pip_requirements=[f"bc4all=={bc4all.__version__}"],
    )
    return {
        "client_id": client.id,
        "model_file": file.name,
        "sha256": digest(saved / _DATA / file.name),
        "mlmodel_sha256": digest(saved / _MLMODEL),
        "bytes": str(file.stat().st_size),
    }


def _signature_features(description: Path) -> tuple[str, ...]:
    """The feature columns of an MLmodel file's signature."""
    try:
        inputs = json.loads(yaml.safe_load(description.read_text())["signature"]["inputs"])
        return tuple(str(column["name"]) for column in inputs if column["type"] == "double")
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise ModelError("the version has no readable signature", description.name, "train the client again") from error


def _is_database(uri: str) -> bool:
    return uri.partition("://")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")


@contextmanager
def _mlflow_answers(missing: str = "MLflow does not know this", remedy: str = "") -> Iterator[None]:
    """MLflow's errors as ours: what is not there is terminal, everything else may pass."""
    try:
        yield
    except MlflowException as error:
        absent = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
        if error.error_code in absent and remedy:
            raise ModelError(missing, remedy=remedy) from error
        raise TransientFailure(f"MLflow: {str(error)[:300]}", remedy="is the tracking server well?") from error
    except (RequestException, SQLAlchemyError, OSError) as error:
        raise TransientFailure(f"MLflow: {str(error)[:300]}", remedy="is the tracking server well?") from error
