"""A version that is not kept: it goes with all that its training has left for it."""

from contextlib import suppress
from functools import partial

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from bc4all.errors import ModelError
from bc4all.identity import ClientId, RunId
from bc4all.registry.tracking import Tracking
from bc4all.registry.versions import TRAINING_IDS, Version


def delete_version(tracking: Tracking, client_id: ClientId, version: Version, files: bool) -> None:
    """Delete a version; `files`: and before it what its training kept for it, where this client's trainings put it.

    Those are its files, the hashes of the products that it was fitted on, and MLflow's record of the model. The version
    goes last: what a killed job has left of it is found by it.
    """
    name, number = version.name, str(version.number)
    place = f"{tracking.training_place(client_id)}/"
    if files and version.uri.startswith(place):
        _delete_artifacts(tracking, version.uri)
        if version.run_id:
            with suppress(ModelError):  # a person has deleted the run
                _delete_kept(tracking, version.run_id)
    tracking.ask(lambda: tracking.client.delete_model_version(name, number))


def _delete_kept(tracking: Tracking, run_id: RunId) -> None:
    client = tracking.client
    run = tracking.ask(lambda: client.get_run(run_id), f"there is no run {run_id}")
    _delete_artifacts(tracking, str(run.info.artifact_uri), TRAINING_IDS)
    search = partial(client.search_logged_models, [run.info.experiment_id], f"source_run_id = '{run_id}'")
    for model in tracking.ask(search):
        tracking.ask(partial(client.delete_logged_model, model.model_id))


def _delete_artifacts(tracking: Tracking, uri: str, path: str | None = None) -> None:
    tracking.ask(lambda: get_artifact_repository(uri, tracking_uri=tracking.uri).delete_artifacts(path))
