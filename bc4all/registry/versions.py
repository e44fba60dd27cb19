"""MLflow's model registry: a client's versions and their aliases.

A version is resolved to its number, downloaded, checked against the digests in its tags, and read by `model_file`:
MLflow's own loader, which runs code that lies in an artifact, is never asked.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from bc4all.config.clients import Client
from bc4all.errors import ModelError, Untrained
from bc4all.identity import ClientId, RunId
from bc4all.kinds import Features
from bc4all.model.held_out import Sides
from bc4all.model.model_file import FOREST_FILE, SKOPS_FILE, digest, load_model
from bc4all.model.ranking import Model
from bc4all.registry.artifact import (
    AGAIN,
    DATA,
    DESCRIPTION_FILE,
    JUDGED,
    MLMODEL,
    SAVED,
    STORED_FILE,
    described,
    write_model,
)
from bc4all.registry.run import Run
from bc4all.registry.tracking import Tracking

_Answer = TypeVar("_Answer")

CHAMPION, CHALLENGER = "champion", "challenger"
# What training stores: `abstention.curves`, `drift.profile`, and what the model was made by, as JSON.
CURVES, PROFILE, RECIPE = "curves", "profile", "recipe"
SIDES = "training_ids.npy"  # of a version's run: `Sides`, of before those of the learned products alone


@dataclass(frozen=True)
class Version:
    """One registered version of a client's model: where it lies, and what it must be."""

    name: str
    number: int
    uri: str
    tags: Mapping[str, str]
    run_id: RunId | None = None  # None where MLflow does not say

    @property
    def top_5(self) -> float | None:
        """Its top-5 accuracy on held-out rows, as its training told; None where no tag says so any more."""
        try:
            return float(self.tags["top_5_accuracy"])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class Registered:
    """A client's registered model: which version each alias points to, and its tags."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """A model that was checked and read, the features that it was trained on, and what training stored with it."""

    version: Version
    model: Model
    features: Features
    stored: Mapping[str, Any]


class Registry:
    """The model registry of a tracking server."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking, self._client = tracking, tracking.client

    def register(
        self,
        client: Client,
        run: Run,
        model: Model,
        example: pd.DataFrame,
        facts: Mapping[str, str],
        stored: Mapping[str, Any],
        judged: Model | None = None,
    ) -> Version:
        """Save `model` with its signature and an example, and register it as the client's next version.

        `facts` become tags of the version, beside those that identify it; `stored` comes back with the model. `judged`
        is kept beside it, where it is another, for `load_judged`.
        """
        name = model_name(client.id)
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            written = write_model(Path(scratch), client, model, example, stored, judged)
            tags = {**facts, "model": client.model_name, **written}
            logged = self.tracking.ask(
                lambda: self._client.create_logged_model(
                    run.experiment_id, name="model", source_run_id=run.id, model_type=client.model_name, tags=tags
                )
            )
            self.tracking.ask(lambda: self._client.log_model_artifacts(logged.model_id, str(Path(scratch) / "saved")))
        self.tracking.ask(lambda: self._client.finalize_logged_model(logged.model_id, "READY"))
        self.tracking.ask(lambda: self._client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, 0)]))
        self.tracking.ask(lambda: self._make_registered_model(name, client))
        place = str(logged.artifact_location)
        made = self._make_version(name, place, run.id, logged.model_id, tags)
        return Version(name, int(made.version), place, tags, run.id)

    def _make_registered_model(self, name: str, client: Client) -> None:
        try:
            self._client.create_registered_model(name, tags={"client_id": client.id})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _make_version(
        self, name: str, source: str, run_id: RunId, model_id: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        """Return a new version; the one that is there where this was asked before and the answer was lost."""
        asked: list[bool] = []

        def make() -> ModelVersion:
            found = self._client.search_model_versions(f"run_id = '{run_id}'") if asked else []
            asked.append(True)
            own = [version for version in found if version.name == name]
            if own:
                return own[0]
            return self._client.create_model_version(name, source, run_id=run_id, tags=dict(tags), model_id=model_id)

        return self.tracking.ask(make)

    def set_alias(self, version: Version, alias: str) -> None:
        """Let `alias` point to `version`."""
        self.tracking.ask(lambda: self._client.set_registered_model_alias(version.name, alias, str(version.number)))

    def find(self, client_id: ClientId, number: int | None = None) -> Version:
        """Return the client's champion, or its version `number`.

        Raises ModelError where there is none, Untrained where there is no version at all.
        """
        name = model_name(client_id)
        wanted = CHAMPION if number is None else f"version {number}"
        missing = f"{name} has no {wanted}"
        if number is None:
            found = self._champion(client_id, missing)
        else:
            found = self.tracking.ask(lambda: self._client.get_model_version(name, str(number)), missing)
        uri = str(found.source)
        if uri.startswith("models:/"):  # a name of MLflow's own; ours are registered by where they lie
            uri = self.tracking.ask(lambda: self._client.get_model_version_download_uri(name, found.version), missing)
        return Version(name, int(found.version), uri, dict(found.tags), _training_run(found))

    def _champion(self, client_id: ClientId, missing: str) -> ModelVersion:
        name = model_name(client_id)
        try:
            return self.tracking.ask(lambda: self._client.get_model_version_by_alias(name, CHAMPION), missing)
        except ModelError as error:
            if self.versions(client_id):
                raise
            raise Untrained(error.what, error.where, error.remedy) from error

    def versions(self, client_id: ClientId) -> list[Version]:
        """Return all versions of a client's model, in no order; none where it has none."""
        name = model_name(client_id)
        found = self.tracking.ask(lambda: self._client.search_model_versions(f"name = '{name}'"))
        return [Version(name, int(v.version), str(v.source), dict(v.tags), _training_run(v)) for v in found]

    def aliases(self, client_id: ClientId) -> dict[str, int]:
        """Alias -> version of a client's model; empty where it has none."""
        try:
            return dict(self.registered(client_id).aliases)
        except ModelError:
            return {}

    def registered(self, client_id: ClientId) -> Registered:
        """Return a client's registered model. Raises ModelError where it has none."""
        name = model_name(client_id)
        found = self.tracking.ask(lambda: self._client.get_registered_model(name), f"{name} has no version")
        return as_registered(found)

    def tag_model(self, client_id: ClientId, key: str, value: str) -> None:
        """Set a tag of a client's registered model."""
        self.tracking.ask(lambda: self._client.set_registered_model_tag(model_name(client_id), key, value))

    def remove_alias(self, client_id: ClientId, alias: str) -> None:
        """Let an alias point to nothing."""
        self.tracking.ask(lambda: self._client.delete_registered_model_alias(model_name(client_id), alias))

    def sides(self, version: Version) -> Sides | None:
        """Return the products that the model of a version's figures was fitted on, and those held out from it.

        None where they were not kept.
        """
        if version.run_id is None:
            return None
        try:
            return Sides.read(np.load(BytesIO(self.tracking.run_file(version.run_id, SIDES))))
        except (ModelError, ValueError, EOFError):  # of before they were kept, or spoilt
            return None

    def load(self, client_id: ClientId, version: Version) -> LoadedModel:
        """Download a version and read it. Raises ModelError where it is not what this client registered."""
        return self._load(client_id, version, version.tags.get("model_file", ""), version.tags.get("sha256", ""))

    def load_judged(self, client_id: ClientId, version: Version) -> LoadedModel:
        """As `load`, the model whose figures are the version's, and that has not seen what was held out then."""
        if "judged_sha256" not in version.tags:
            return self.load(client_id, version)
        path = f"{JUDGED}/{version.tags.get('judged_file', '')}"
        return self._load(client_id, version, path, version.tags["judged_sha256"])

    def _load(self, client_id: ClientId, version: Version, path: str, sha256: str) -> LoadedModel:
        where = f"{version.name} version {version.number}"
        known = [f"{folder}{name}" for folder in ("", f"{JUDGED}/") for name in (FOREST_FILE, SKOPS_FILE)]
        if version.tags.get("client_id") != client_id or path not in known:
            raise ModelError("the version was not registered by bc4all for this client", where, AGAIN)
        with tempfile.TemporaryDirectory(prefix="bc4all-") as scratch:
            files = _Files(self.tracking, version, scratch)
            description = files.checked(MLMODEL, "mlmodel_sha256")
            if "description_sha256" in version.tags:
                description = files.checked(f"{DATA}/{DESCRIPTION_FILE}", "description_sha256")
            features = described(description, client_id)
            files.refuse_strangers()
            file = files.download(f"{DATA}/{path}")
            return LoadedModel(version, load_model(file, sha256), features, files.stored())


class _Files:
    """The files of a version, by one of MLflow's artifact repositories: to make one takes as long as to download."""

    def __init__(self, tracking: Tracking, version: Version, scratch: str) -> None:
        self._tracking, self._version, self._scratch = tracking, version, scratch
        self._files = self._ask(lambda: get_artifact_repository(version.uri, tracking_uri=tracking.uri))

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        return self._tracking.ask(question, _no_files(self._version))

    def stored(self) -> Mapping[str, Any]:
        """Return what training stored with a version; nothing in one of before it did."""
        if "stored_sha256" not in self._version.tags:
            return {}
        file = self.checked(f"{DATA}/{STORED_FILE}", "stored_sha256")
        stored: Mapping[str, Any] = json.loads(file.read_text())
        return stored

    def checked(self, path: str, tag: str) -> Path:
        """Download a file of a version. Raises ModelError unless it has the digest that a tag of the version tells."""
        version, file = self._version, self.download(path)
        if digest(file) != version.tags.get(tag):
            where = f"{version.name} version {version.number}"
            raise ModelError(f"its {file.name} is not the one that was registered", where, AGAIN)
        return file

    def refuse_strangers(self) -> None:
        """Raise ModelError where the artifact holds what was not saved with it, such as a folder `code`."""
        version, listed = self._version, self._ask(self._files.list_artifacts)
        strange = sorted({entry.path.rpartition("/")[2] for entry in listed} - set(SAVED))
        if strange:
            where = f"{version.name} version {version.number}"
            raise ModelError(f"its files hold {', '.join(strange)[:200]}, which was not registered", where, AGAIN)

    def download(self, path: str) -> Path:
        """Download a file of a version."""
        return Path(self._ask(lambda: self._files.download_artifacts(path, self._scratch)))


def _no_files(version: Version) -> str:
    return f"{version.name} version {version.number} has no files"


def _training_run(version: ModelVersion) -> RunId | None:
    return RunId(version.run_id) if version.run_id else None


def as_registered(model: RegisteredModel) -> Registered:
    """Return what MLflow says of a registered model."""
    aliases = {alias: int(number) for alias, number in (model.aliases or {}).items()}
    return Registered(aliases, dict(model.tags or {}))


def model_name(client_id: ClientId) -> str:
    """Return the client's name in the model registry."""
    return f"{client_id}_model"
