"""What is not kept in MLflow: a version, with all that its training has left for it; old predictions; a client.

MLflow's clients mark runs and experiments as deleted, and can restore them; what has gone from the artifacts has gone.
`mlflow gc`, run by people, removes what is marked from its database.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import groupby

from mlflow.entities import Experiment
from mlflow.entities import Run as MlflowRun
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from bc4all.errors import Failure, ModelError
from bc4all.identity import ClientId, RunId
from bc4all.job_kinds import JOB_KINDS, PREDICT
from bc4all.registry.ownership import OWNER_TAG
from bc4all.registry.tracking import ACTIVE, Tracking, experiment_name
from bc4all.registry.versions import SIDES, Version, model_name

_FORGOTTEN = " (forgotten "  # ends the name of an experiment that is one no more: no client's id has a space
_VERSION = "model_version"  # the tag of a prediction's run
_MAX_EXPERIMENTS_A_QUERY = 100


def delete_version(tracking: Tracking, client_id: ClientId, version: Version, files: bool) -> None:
    """Delete a version; `files`: and before it what its training kept for it, where this client's trainings put it.

    Those are its files, the hashes of the products that it was fitted on and judged by, and MLflow's record of the
    model. The version goes last: what a killed job has left of it is found by it.
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
    _delete_artifacts(tracking, str(run.info.artifact_uri), SIDES)
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


def check_deletable(tracking: Tracking, client_id: ClientId) -> None:
    """Raise Failure where an experiment may be another's, or its artifacts lie among those of others."""
    for experiment in experiments_of(tracking, client_id):
        name, address = _original_name(experiment), str(experiment.artifact_location)
        if address.rstrip("/").rpartition("/")[2] not in (name, str(experiment.experiment_id)):
            what = f"the artifacts of MLflow's experiment {name} may lie among those of others"
            raise Failure(what, address, "remove them, rename the experiment in MLflow's pages, and run this again")
        if tracking.owner(experiment) is None:
            remedy = f"if it is this DATA_PREFIX's, set its tag {OWNER_TAG} to that, else rename it; run this again"
            raise Failure(f"MLflow's experiment {name} does not say whose it is", address, remedy)


def delete_experiments(tracking: Tracking, client_id: ClientId) -> None:
    """Delete a client's experiments, which `check_deletable` has passed; their names are free then.

    Their artifacts, models among them, go for good; runs are marked as deleted.
    """
    client = tracking.client
    for experiment in experiments_of(tracking, client_id):
        number, address = str(experiment.experiment_id), str(experiment.artifact_location)
        repository = tracking.ask(partial(get_artifact_repository, address, tracking_uri=tracking.uri))
        if tracking.ask(repository.list_artifacts):  # some stores fail to delete nothing
            tracking.ask(repository.delete_artifacts)
        if experiment.lifecycle_stage != ACTIVE:  # MLflow renames none that is deleted
            tracking.ask(partial(client.restore_experiment, number))
        name = f"{_original_name(experiment)}{_FORGOTTEN}{number})"
        tracking.ask(partial(client.rename_experiment, number, name))
        tracking.ask(partial(client.delete_experiment, number))


def _original_name(experiment: Experiment) -> str:
    return str(experiment.name).partition(_FORGOTTEN)[0]


def old_predictions(
    tracking: Tracking, before: float, drift_dates: Mapping[ClientId, int], metric: str
) -> Iterator[Callable[[], bool]]:
    """Yield the removal of each of these clients' prediction runs that began before a time, in seconds since 1970.

    Of each version's last dates, as many as `drift_dates` says of its client stay: drift is measured by their `metric`.
    """
    names = {experiment_name(PREDICT, client_id): client_id for client_id in drift_dates}
    own = tracking.own_experiments(list(drift_dates))
    clients = {str(one.experiment_id): names[one.name] for one in own if one.name in names}
    old = f"attributes.start_time < {int(before * 1000)} AND attributes.status != 'RUNNING'"
    numbers = sorted(clients)
    for first in range(0, len(numbers), _MAX_EXPERIMENTS_A_QUERY):
        runs = tracking.runs(numbers[first : first + _MAX_EXPERIMENTS_A_QUERY], old)
        runs_of = groupby(sorted(runs, key=_experiment), _experiment)
        for number, theirs in runs_of:
            kept = _of_last_dates(tracking, number, drift_dates[clients[number]], metric)
            for run in theirs:
                if (run.data.tags.get(_VERSION), run.info.run_name) not in kept:
                    yield partial(_delete_run, tracking, RunId(run.info.run_id))


def _experiment(run: MlflowRun) -> str:
    return str(run.info.experiment_id)


def _delete_run(tracking: Tracking, run_id: RunId) -> bool:
    tracking.ask(partial(tracking.client.delete_run, run_id))
    return True


def _of_last_dates(tracking: Tracking, experiment: str, count: int, metric: str) -> set[tuple[str, str]]:
    """Return (version, name) of the last `count` predictions of each version with a metric: one name a date."""
    names: dict[str, dict[str, None]] = {}
    for run in tracking.runs([experiment], "attributes.status = 'FINISHED'"):
        last = names.setdefault(run.data.tags.get(_VERSION, ""), {})
        if metric in run.data.metrics and len(last) < count:
            last[str(run.info.run_name)] = None
    return {(version, name) for version, last in names.items() for name in last}
