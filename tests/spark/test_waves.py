"""Many clients in the same Spark jobs: each gets what it would get alone, and a failure takes one client out."""

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from bc4all.config.clients import Client
from bc4all.config.settings import AbstainSettings
from bc4all.data import wave
from bc4all.data.publishing import Publisher
from bc4all.errors import OutOfReach, TransientFailure
from bc4all.job_kinds import JOB_KINDS
from bc4all.jobs import predict_job, waves, work
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome, run_waves
from bc4all.jobs.predict_job import predict, predict_wave
from bc4all.jobs.scoring import Scorer
from bc4all.jobs.train_job import train
from bc4all.jobs.work import job_waves
from bc4all.registry.versions import Registry
from bc4all.request import JobRequest
from tests.conftest import DAY, jobs_on, make_client, published_rows
from tests.faults.conftest import partition, rows_of

Deliver = Callable[..., Path]
KINDS = {"title": "text", "colour": "category", "f0": "numeric"}


def frame_of(rows: int, seed: int, features: Sequence[str]) -> pd.DataFrame:
    """Products, whose ids are those of every other such frame, and their categories."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, rows)
    columns: dict[str, Any] = {"product_id": [f"p{place}" for place in range(rows)]}
    columns["category_id"] = np.array([f"category {code}" for code in range(4)])[codes]
    for name in features:
        if name == "title":
            columns[name] = [f"a {['red', 'green', 'blue', 'grey'][code]} thing {seed}" for code in codes]
        elif name == "colour":
            columns[name] = np.array(["r", "g", "b", None], dtype=object)[codes]
        else:
            columns[name] = codes + rng.normal(0, 0.3, rows)
    return pd.DataFrame(columns)


def fleet() -> list[Client]:
    """Clients that are as unlike as they can be."""
    return [
        make_client("two", features=("f0", "f1")),
        make_client("twin", features=("f0", "f1"), model_params={"n_estimators": 3, "random_state": 2}),
        make_client("wide", features=tuple(f"f{place}" for place in range(40))),
        make_client("words", features=KINDS, model_params={}, model="auto"),
        make_client("unsure", features=("f1",), abstain=AbstainSettings(precision=0.9)),
        make_client("pieces", features=("f0", "f1"), max_quarantine=0.1),
        make_client("table", features=("f0", "f1")),
        make_client("other_table", features=("f0", "f1")),
        make_client("other_pieces", features={"f0": "category", "f1": "numeric"}, max_quarantine=0.1),
    ]


@pytest.fixture(scope="module")
def trained(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix on which all of them are trained, and have delivered what is to be predicted."""
    prefix = tmp_path_factory.mktemp("waves") / "data"
    for seed, client in enumerate(fleet()):
        for kind in ("train", "prediction"):
            (prefix / kind / f"client_id={client.id}").mkdir(parents=True)
        data = frame_of(160, seed, list(client.features))
        data.to_csv(prefix / "train" / f"client_id={client.id}" / "a.csv", index=False)
        products, folder = data.drop(columns="category_id"), prefix / "prediction" / f"client_id={client.id}"
        if client.id.endswith("table"):
            products.to_parquet(folder / "a.parquet")
        elif client.id.endswith("pieces"):  # with ids that come in both files, and rows that are refused
            products[:100].to_csv(folder / "a.csv", index=False)
            products[90:].to_csv(folder / "b.csv.gz", index=False)
            (folder / "c.csv").write_text("product_id,f0,f1\nbad,1,x\nshort\n")
        else:
            products.to_csv(folder / "a.csv.gz", index=False)
        if client.id == "words":
            (folder / "b.csv").write_text(f"product_id,{','.join(KINDS)}\nworse,t,c,no number\n")
    shutil.copy(empty_mlflow, prefix)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    job = jobs_on(spark, prefix)
    for client in fleet():
        train(job, client)
    return prefix


def results(job: JobContext, clients: Sequence[Client], **options: Any) -> dict[str, Outcome]:
    """What becomes of clients in one wave."""
    work = partial(predict_wave, job, **options)
    return {outcome.client_id: outcome for outcome in run_waves(job.spark, "predict", [clients], work, 1)}


def everything(prefix: Path, client: Client) -> list[pd.DataFrame | None]:
    """What a client has published, and what was refused of it, but for where its files lie."""
    return [rows_of(partition(prefix, client.id, root)) for root in ("products_categories", "quarantine/prediction")]


@pytest.mark.starts_from("trained")
@pytest.mark.parametrize("is_scattered", [False, True])
def test_a_wave_publishes_what_each_would_alone(
    job: JobContext, prefix: Path, is_scattered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row for row and column for column, refused ones too, whatever the clients beside it are.

    Also where files are so large that packs go to other tasks, keys to several, and models come in several parts.
    """
    alone = {}
    for client in fleet():
        predict(job, client)
        alone[client.id] = everything(prefix, client)
        for root in ("products_categories", "quarantine"):
            shutil.rmtree(prefix / root, ignore_errors=True)
    if is_scattered:
        monkeypatch.setattr("bc4all.data.wave._BYTES_A_TASK", 3000)
        monkeypatch.setattr("bc4all.data.wave._KEYS_A_TASK", 100)
        monkeypatch.setattr(predict_job, "_MODEL_BYTES", 30_000)
    found = results(job, fleet())
    assert {outcome.error for outcome in found.values()} == {None}
    assert (found["pieces"].rows, found["pieces"].quarantined) == (160, 12)
    for client in fleet():
        for mine, its in zip(alone[client.id], everything(prefix, client), strict=True):
            assert (mine is None) == (its is None), client.id
            if mine is not None:
                pd.testing.assert_frame_equal(mine, its)
    assert "answered" in published_rows(prefix, "unsure")
    assert alone["words"][1] is not None
    assert list(alone["words"][1].columns) == ["product_id", *KINDS, "line", "file", "reason"]
    assert not list((prefix / "_staging").glob("*"))


@pytest.mark.starts_from("trained")
def test_sparks_pages_find_each_client(job: JobContext) -> None:
    """A wave's Spark jobs are called by its first client; each of its clients is a tag of all of them."""
    before = max((one.jobId() for one in jobs_of_spark(job)), default=-1)
    some = fleet()[:3]
    results(job, some)
    tags_by_name: dict[str, set[frozenset[str]]] = {}
    for one in jobs_of_spark(job):
        if one.jobId() <= before:
            continue
        tags = {tag for tag in one.jobTags().mkString(" ").split() if not tag.startswith("spark-session-")}
        tags_by_name.setdefault(str(one.description().get()), set()).add(frozenset(tags))
    ids = frozenset(client.id for client in some)
    assert tags_by_name == {f"two +2 · predict · {phase}": {ids} for phase in ("read", "score", "audit")}


def jobs_of_spark(job: JobContext) -> list[Any]:
    """What Spark's pages know of its jobs: of the latest thousand, and once all that ended was heard of."""
    context: Any = job.spark.sparkContext
    context._jsc.sc().listenerBus().waitUntilEmpty()
    found = context._jsc.sc().statusStore().jobsList(None)
    return [found.apply(place) for place in range(found.size())]


@pytest.mark.starts_from("trained")
def test_what_is_wrong_with_one_client_is_its_own(job: JobContext, prefix: Path) -> None:
    """No files, no model, no column, nothing but refused rows: each by its name, and the others are published."""
    folder = prefix / "prediction"
    shutil.rmtree(folder / "client_id=two")
    (folder / "client_id=twin" / "a.csv.gz").unlink()
    (folder / "client_id=twin" / "a.csv").write_text("product_id,f0\n1,2\n")
    (folder / "client_id=unsure" / "a.csv.gz").unlink()
    (folder / "client_id=unsure" / "a.csv").write_text("product_id,f1\n1,x\n2,y\n")
    found = results(job, [make_client("stranger"), *fleet()])
    said = {
        "stranger": "stranger_model has no champion",
        "two": "there is no partition",
        "twin": "column f1 is missing, on which twin_model version 1 was trained",
        "unsure": "2 of 2 rows refused, most for: f1 is no number",
    }
    assert {name for name, outcome in found.items() if outcome.error} == set(said)
    for name, words in said.items():
        assert words in str(found[name].error), found[name].error
        assert found[name].exit_code == 1
        assert not partition(prefix, name).exists()
    assert rows_of(partition(prefix, "unsure", "quarantine/prediction")) is not None
    assert len(published_rows(prefix, "wide")) == 160 * 4
    assert not list((prefix / "_staging").glob("*"))


class Deadly:
    """In place of a model that a worker does not survive."""

    value = property(lambda self: os._exit(1))

    def forget(self) -> None:
        """Nothing is kept."""


def with_deadly(monkeypatch: pytest.MonkeyPatch, *client_ids: str) -> None:
    """Give some clients a model that ends the worker which asks it."""
    scorer = predict_job._scorer

    def changed(member: Any, model: Any) -> Scorer:
        return scorer(member, Deadly() if member.client.id in client_ids else model)

    monkeypatch.setattr(predict_job, "_scorer", changed)


@pytest.mark.starts_from("trained")
def test_a_client_that_kills_its_worker_fails_alone(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wave is halved until it is alone; every other client is published, with one run each in MLflow."""
    with_deadly(monkeypatch, "two", "pieces")
    found = results(job, fleet())
    assert {name for name, outcome in found.items() if outcome.error} == {"two", "pieces"}
    assert found["two"].exit_code == 75
    assert "a Python worker ended in the middle of its work" in str(found["two"].error)
    for client in fleet():
        published = rows_of(partition(prefix, client.id))
        assert (published is None) == (client.id in ("two", "pieces"))
    assert not list((prefix / "_staging").glob("*"))
    experiments = job.registry.tracking.experiments([client.id for client in fleet()])
    predictions = [one.experiment_id for one in experiments if one.name.startswith(JOB_KINDS["predict"].experiment)]
    runs = job.registry.tracking.client.search_runs(predictions)
    assert sorted((run.data.tags["client_id"], run.info.status) for run in runs) == sorted(
        (client.id, "FAILED" if client.id in ("two", "pieces") else "FINISHED") for client in fleet()
    )


@pytest.mark.starts_from("trained")
def test_a_storage_that_fails_is_not_asked_once_a_client(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it fails for all, all fail with 75, without a second try, and nothing is published."""
    asked = []

    def fails(*_: object) -> None:
        asked.append(1)
        raise TransientFailure("the storage is away")

    monkeypatch.setattr(predict_job, "stage_together", fails)
    found = results(job, [client for client in fleet() if client.abstain is None])
    assert {outcome.exit_code for outcome in found.values()} == {75}
    assert len(asked) == 1
    assert not (prefix / "products_categories").exists()
    assert not list((prefix / "_staging").glob("*"))


@pytest.mark.starts_from("trained")
def test_the_client_that_lends_its_folder_may_fail(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have staged below its run's folder is theirs before that goes."""
    adopt, seen = Publisher.adopt, []

    def first_fails(self: Publisher, staged: str, name: str) -> None:
        if not seen:
            seen.append(self)
        if self is seen[0] and name == "products_categories":
            raise TransientFailure("no room")
        adopt(self, staged, name)

    monkeypatch.setattr(Publisher, "adopt", first_fails)
    clients = {client.id: client for client in fleet()}
    found = results(job, [clients[name] for name in ("pieces", "two", "table")])
    assert [outcome.exit_code for outcome in found.values()] == [75, 0, 0]
    assert "no room" in str(found["pieces"].error)
    assert len(published_rows(prefix, "two")) == len(published_rows(prefix, "table")) == 160 * 4
    assert not list((prefix / "_staging").glob("*"))


@pytest.mark.starts_from("trained")
def test_files_that_change_are_one_clients(job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the job that reads all fails since one client's file is gone, that one fails; the others are read again."""
    read, calls = wave._read, []

    def reading(*arguments: Any) -> Any:
        if not calls:
            (prefix / "prediction" / "client_id=wide" / "a.csv.gz").unlink()
        calls.append(1)
        return read(*arguments)

    monkeypatch.setattr(wave, "_read", reading)
    found = results(job, fleet())
    assert {name for name, outcome in found.items() if outcome.error} == {"wide"}
    assert "the partition changed while it was read" in str(found["wide"].error)
    assert (found["wide"].exit_code, len(calls)) == (75, 2)


@pytest.mark.starts_from("trained")
def test_after_ctrl_c_nothing_more_is_begun(job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is given up, what waits is not begun, and every client's run and lock is ended."""
    monkeypatch.setattr(predict_job, "_MODEL_BYTES", 1)  # each client in a part of its own
    score, calls = predict_job.score_products, []

    def interrupting(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            job.interrupted.set()
        return score(*arguments)

    monkeypatch.setattr(predict_job, "score_products", interrupting)
    found = results(job, fleet())
    assert len(calls) == 2
    assert [outcome.exit_code for outcome in found.values()] == [0] + [75] * (len(found) - 1)
    assert not list((prefix / "_staging").glob("*"))
    for client in fleet():
        with job.state.exclusive(client.id, "predict", patience=0):
            pass
    experiments = job.registry.tracking.experiments([client.id for client in fleet()])
    runs = job.registry.tracking.client.search_runs([one.experiment_id for one in experiments])
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}


@pytest.mark.starts_from("trained")
def test_mlflow_that_is_away_is_not_asked_for_each(job: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it did not answer for one client, the others leave by the same word."""
    asked = []

    def away(self: object, client_id: str, number: int | None) -> None:
        asked.append(client_id)
        raise OutOfReach("MLflow: it did not answer in time")

    monkeypatch.setattr(Registry, "find", away)
    monkeypatch.setattr(waves, "_THREADS", 1)
    found = results(job, fleet())
    assert {outcome.exit_code for outcome in found.values()} == {75}
    assert all("MLflow: it did not answer in time" in str(outcome.error) for outcome in found.values())
    assert len(asked) == 1


def test_waves_are_packed_by_bytes(job: JobContext, deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small clients share a wave, and so do large ones, after them, if they fit; each is tuned by itself."""
    monkeypatch.setattr(work, "_WAVE_BYTES", {"predict": 50, "train": 20})  # for each of two cores
    monkeypatch.setattr(work, "MAX_WAVE", 3)
    sizes = {"none": 0, "a": 10, "b": 10, "d": 10, "e": 26, "f": 10, "h": 27, "giant": 1000, "g": 1}
    for name, size in sizes.items():
        if size:
            deliver("prediction", name, "a.csv", "x" * size)
            deliver("train", name, "a.csv", "x" * size)
    clients = [make_client(name) for name in sizes]

    def packed(kind: str) -> tuple[list[str], ...]:
        request = JobRequest(kind, (), True, DAY, Path("clients.yaml"), max_parallel=1)
        found = job_waves(job, request, clients)
        return tuple([" ".join(client.id for client in some) for some in waves] for waves in found)

    assert packed("predict") == (["none a b", "d f g"], ["e h", "giant"])
    assert packed("train") == (["none a b", "d f g"], ["e", "h", "giant"])
    assert packed("tune") == (list(sizes), [])
