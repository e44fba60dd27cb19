"""What is not kept in MLflow: a version, with all that its training has left for it; old predictions; a client.

MLflow's clients mark runs and experiments as deleted, and can restore them; what has gone from the artifacts has gone.
`mlflow gc`, run by people, removes what is marked from its database.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import groupby

from mlflow.entities import Experiment
from mlflow.entities import Run as MlflowRun
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from bc4all.errors import Failure, ModelError
from bc4all.identity import ClientId, RunId
from bc4all.job_kinds import JOB_KINDS, PREDICT
from bc4all.registry.tracking import ACTIVE, Tracking, experiment_name
from bc4all.registry.versions import TRAINING_IDS, Version, model_name

_FORGOTTEN = " (forgotten "  # ends the name of an experiment that is one no more: no client's id has a space
_AT_ONCE = 100  # experiments whose runs are asked for in one question
_PAGE = 1000  # runs an answer


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


def delete_registered(tracking: Tracking, client_id: ClientId) -> None:
    """Delete a client's registered model, its versions and aliases with it: from here on it has no champion."""
    with suppress(ModelError):  # there is none
        tracking.ask(lambda: tracking.client.delete_registered_model(model_name(client_id)), "there is no such model")


def experiments_of(tracking: Tracking, client_id: ClientId) -> list[Experiment]:
    """Return a client's experiments, of every kind, those among them that a killed removal has left half done."""
    found = []
    for kind in JOB_KINDS.values():
        name = experiment_name(kind, client_id)
        own = tracking.ask(partial(tracking.client.get_experiment_by_name, name))
        search = partial(tracking.client.search_experiments, filter_string=f"name LIKE '{name}{_FORGOTTEN}%'")
        left = tracking.ask(search)  # in LIKE, _ stands for any letter
        found += [*([own] if own else []), *(one for one in left if one.name.startswith(f"{name}{_FORGOTTEN}"))]
    return found


def delete_experiments(tracking: Tracking, client_id: ClientId) -> None:
    """Delete a client's experiments: their artifacts, models among them, for good; the runs as MLflow's clients can.

    Their names are free then. Raises Failure where an experiment's artifacts lie among those of others.
    """
    client = tracking.client
    for experiment in experiments_of(tracking, client_id):
        number, name = str(experiment.experiment_id), str(experiment.name).partition(_FORGOTTEN)[0]
        address = str(experiment.artifact_location)
        if address.rstrip("/").rpartition("/")[2] not in (name, number):
            told = f"the artifacts of MLflow's experiment {name} may lie among those of others"
            raise Failure(told, address, "delete the experiment by hand, and run this again")
        _delete_artifacts(tracking, address)
        if experiment.lifecycle_stage != ACTIVE:  # MLflow renames none that is deleted
            tracking.ask(partial(client.restore_experiment, number))
        tracking.ask(partial(client.rename_experiment, number, f"{name}{_FORGOTTEN}{number})"))
        tracking.ask(partial(client.delete_experiment, number))


def delete_old_predictions(tracking: Tracking, before: float, looked_at: Mapping[ClientId, int]) -> int:
    """Delete the runs of predictions that began before a time, in seconds since 1970; return how many there were.

    Of a client's last dates, as many as `looked_at` says of it stay: drift is told by them.
    """
    experiments = {str(one.experiment_id): one for one in tracking.own_experiments(PREDICT)}
    old = f"attributes.start_time < {int(before * 1000)} AND attributes.status != 'RUNNING'"
    numbers, count = sorted(experiments), 0
    for first in range(0, len(numbers), _AT_ONCE):
        chosen = numbers[first : first + _AT_ONCE]
        found = sorted(_runs(tracking, chosen, old), key=lambda run: str(run.info.experiment_id))
        for number, runs in groupby(found, lambda run: str(run.info.experiment_id)):
            client_id = ClientId(experiments[number].name.removeprefix(experiment_name(PREDICT, "")))
            kept = _last_dates(tracking, number, looked_at.get(client_id, 0))
            for run in runs:
                if run.info.run_name not in kept:
                    tracking.ask(partial(tracking.client.delete_run, run.info.run_id))
                    count += 1
    return count


def _last_dates(tracking: Tracking, experiment: str, count: int) -> set[str]:
    """Return the names of a client's last `count` predictions that were done: one name a date."""
    names: dict[str, None] = {}
    for run in _runs(tracking, [experiment], "attributes.status = 'FINISHED'"):  # MLflow tells the latest first
        if len(names) >= count:
            break
        names[str(run.info.run_name)] = None
    return set(names)


def _runs(tracking: Tracking, experiments: list[str], which: str) -> Iterator[MlflowRun]:
    token: str | None = None
    while True:
        search = partial(tracking.client.search_runs, experiments, which, max_results=_PAGE, page_token=token)
        found = tracking.ask(search)
        yield from found
        token = found.token
        if not token:
            return
