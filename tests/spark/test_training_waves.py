"""Many clients trained in one Spark job, a task each: every model is what the client would get alone."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.jobs import train_job
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome, run_waves
from bc4all.jobs.train_job import train, train_wave
from bc4all.learning import lessons, task_results
from bc4all.learning.lessons import _Training
from bc4all.learning.plan import Planner, Settled
from bc4all.model.features import model_input
from bc4all.registry.versions import Version
from tests.conftest import jobs_on, make_client
from tests.faults.conftest import partition, rows_of
from tests.spark.test_waves import KINDS, frame_of

FOREST = {"n_estimators": 3, "random_state": 2}
LINEAR = {
    "classifier": "sklearn.linear_model.LogisticRegression",
    "transform": ["sklearn.impute.SimpleImputer", "sklearn.preprocessing.StandardScaler"],
}
TREES = {"classifier": "sklearn.ensemble.ExtraTreesClassifier", "params": FOREST}
SAME = ("model_file", "judged_file", "stored_sha256", "description_sha256", "accuracy", "log_loss")


def fleet() -> list[Client]:
    """Clients with all kinds of models, and of features."""
    return [
        make_client("forest", features=("f0", "f1")),
        make_client("words", features=KINDS, model_params=FOREST),
        make_client("title", features={"title": "text"}, model=TEXT_MODEL, model_params={}),
        make_client(
            "blend",
            features=("f0", "f1"),
            model={"blend": [LINEAR, TREES], "calibrate": "temperature"},
            model_params={},
        ),
        make_client("searched", features=("f0",), model="auto", model_params={}),
        make_client("pieces", features=("f0", "f1"), max_quarantine=0.1),
    ]


@pytest.fixture(scope="module")
def delivered(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with what all of them learn from, and a version of each, which was trained alone."""
    prefix = tmp_path_factory.mktemp("lessons") / "data"
    for seed, client in enumerate(fleet()):
        folder = prefix / "train" / f"client_id={client.id}"
        folder.mkdir(parents=True)
        data = frame_of(400, seed, list(client.features))
        data[:300].to_csv(folder / "a.csv.gz", index=False)
        data[300:].to_csv(folder / "b.csv", index=False)
        if client.id == "pieces":
            (folder / "c.csv").write_text("product_id,category_id,f0,f1\nbad,x,1,x\nshort\n")
    shutil.copy(empty_mlflow, prefix)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    job = jobs_on(spark, prefix)
    for client in fleet():
        train(job, client)
    return prefix


def results(job: JobContext, clients: Sequence[Client]) -> dict[str, Outcome]:
    """What becomes of clients in one wave."""
    found = run_waves(job.spark, "train", [clients], partial(train_wave, job), 1)
    return {outcome.client_id: outcome for outcome in found}


def what_is_kept(job: JobContext, version: Version) -> dict[str, Any]:
    """What a version and its run say of its training: what differs between equal ones is left out."""
    assert version.run_id
    client, run = job.registry.tracking.client, job.registry.tracking.client.get_run(version.run_id)
    files = {file.path: file.file_size for file in client.list_artifacts(version.run_id)}
    (dataset,) = run.inputs.dataset_inputs
    tags = {name: version.tags.get(name) for name in SAME}
    return {"tags": tags, "metrics": run.data.metrics, "params": run.data.params, "files": files} | {
        "data": dataset.dataset.digest
    }


@pytest.mark.starts_from("delivered")
@pytest.mark.parametrize("way", ["a task each", "lots of two", "all cores", "answers by pieces"])
def test_a_wave_trains_what_each_would_alone(
    job: JobContext, prefix: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that answers the same, bit for bit, the same figures and files, however the work was handed out."""
    if way == "all cores":
        monkeypatch.setattr(train_job, "_for_one_task", lambda members, at_once: [])
    if way == "lots of two":
        monkeypatch.setattr(train_job, "FINISHED_AT_ONCE", 2)
        monkeypatch.setattr(train_job, "_TASKS_A_CORE", 0)
    if way == "answers by pieces":
        monkeypatch.setattr(task_results, "heap_bytes", lambda spark: 1 << 20)
        monkeypatch.setattr(train_job, "_ANSWER_BYTES", 1)
    before_it = what_spark_keeps(job)  # of tests before this one
    found = results(job, fleet())
    assert [outcome.error for outcome in found.values()] == [None] * len(found)
    assert (found["pieces"].rows, found["pieces"].quarantined) == (400, 2)
    refused = rows_of(partition(prefix, "pieces", "quarantine/train"))
    assert refused is not None
    assert sorted(refused["line"].dropna()) == ["short"]
    for client in fleet():
        alone, together = (job.registry.find(client.id, number) for number in (1, 2))
        before, after = what_is_kept(job, alone), what_is_kept(job, together)
        compared = {name: after["metrics"].pop(name) for name in ("gate_difference", "gate_low", "gate_high")}
        assert set(compared.values()) == {0.0}, client.id
        assert before == after, client.id
        data = model_input(frame_of(100, 9, list(client.features)), client.features)
        for load in (job.registry.load, job.registry.load_judged):
            mine, its = (load(client.id, version).model.predict_proba(data) for version in (alone, together))
            np.testing.assert_array_equal(mine, its)
    assert not list((prefix / "_staging").glob("*"))
    assert what_spark_keeps(job) <= before_it


def what_spark_keeps(job: JobContext) -> set[int]:
    """The numbers of what Spark keeps for later: of files that were read, and of tasks' answers."""
    return set(job.spark.sparkContext._jsc.getPersistentRDDs())  # type: ignore[attr-defined]


class DeadlyPlan(Settled):
    """A plan whose worker does not survive."""

    def __call__(self, *_: Any) -> Any:
        """End this process."""
        os._exit(1)


class BrokenPlan(Settled):
    """A plan with a fault that has no error class."""

    def __call__(self, *_: Any) -> Any:
        """Raise what no part of bc4all raises."""
        raise ZeroDivisionError("of all things")


@pytest.mark.starts_from("delivered")
def test_what_is_wrong_with_one_clients_training_is_its_own(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No files, one category, what scikit-learn refuses, a fault, a worker that dies: the others are trained."""
    plan: Callable[[Client], Planner] = train_job.planner
    kinds = {"deadly": DeadlyPlan, "broken": BrokenPlan}

    def planner(client: Client) -> Planner:
        settled = plan(client)
        return kinds[client.id](settled.plan) if client.id in kinds and isinstance(settled, Settled) else settled

    monkeypatch.setattr(train_job, "planner", planner)
    neighbours = {"classifier": "sklearn.neighbors.KNeighborsClassifier", "params": {"n_neighbors": 1000}}
    steps = {"transform": ["sklearn.impute.SimpleImputer"]}
    bad = [
        make_client("missing", features=("f0",)),
        make_client("same", features=("f0",)),
        make_client("refused", features=("f0",), model={"blend": [{**neighbours, **steps}]}, model_params={}),
        make_client("deadly", features=("f0",)),
        make_client("broken", features=("f0",)),
    ]
    for client in bad[1:]:
        folder = prefix / "train" / f"client_id={client.id}"
        folder.mkdir(parents=True)
        data = frame_of(60, 1, ["f0"])
        (data.assign(category_id="one") if client.id == "same" else data).to_csv(folder / "a.csv", index=False)
    found = results(job, [*bad, *fleet()])
    said = {
        "missing": ("there is no partition", 1),
        "same": ("there is 1 category where a classifier needs two", 1),
        "refused": ("Expected n_neighbors <= n_samples_fit", 1),
        "deadly": ("a Python worker ended in the middle of its work", 75),
        "broken": ("of all things", 1),
    }
    assert {name for name, outcome in found.items() if outcome.error} == set(said)
    for name, (words, code) in said.items():
        assert words in str(found[name].error), found[name].error
        assert found[name].exit_code == code, name
        assert not job.registry.aliases(found[name].client_id)
    experiments = job.registry.tracking.experiments([client.id for client in bad])
    runs = job.registry.tracking.client.search_runs([one.experiment_id for one in experiments])
    assert sorted((run.data.tags["client_id"], run.info.status) for run in runs) == sorted(
        (client.id, "FAILED") for client in bad
    )
    assert not list((prefix / "_staging").glob("*"))


class Losing(_Training):
    """A task that gets the first of its packs alone."""

    def __call__(self, place: int, packs: Iterable[Any]) -> Any:
        """Train on that."""
        return super().__call__(place, islice(packs, 1))


@pytest.mark.starts_from("delivered")
def test_rows_that_are_lost_on_the_way_are_missed(job: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that gets fewer rows than were read trains nothing that is registered."""
    monkeypatch.setattr(lessons, "_Training", Losing)
    found = results(job, [client for client in fleet() if client.id in ("forest", "title")])
    assert {outcome.exit_code for outcome in found.values()} == {75}
    assert all("rows came where 400 were read" in str(outcome.error) for outcome in found.values())
    assert [version.number for version in job.registry.versions(found["forest"].client_id)] == [1]
