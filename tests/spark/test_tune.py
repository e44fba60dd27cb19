"""The tune job: what it tries, what it never looks at, what it writes."""

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from pyspark import Broadcast
from pyspark.sql import SparkSession
from rich.console import Console

from bc4all.config.clients import Client
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.config.model_settings import BlendSettings
from bc4all.data.recovery import recover
from bc4all.errors import ConfigurationError, DataError, ModelError, TransientFailure
from bc4all.jobs.context import JobContext
from bc4all.jobs.train_job import train
from bc4all.jobs.tune_job import TuneJob
from bc4all.learning import blending, tasks, tuning
from bc4all.learning.blending import MIN_GAIN, Candidate, Choice, Scores
from bc4all.learning.candidates import fixed_list
from bc4all.learning.fitting import OutOfFold
from bc4all.learning.folds import Rows
from bc4all.learning.tuning import Effort
from bc4all.model.held_out import split
from bc4all.registry.tracking import tracking_uri
from bc4all.request import JobRequest
from bc4all.state import State
from tests.conftest import DAY, ROOT, make_client

Deliver = Callable[..., Path]
Searched = Callable[[Scores | None], list[Rows]]
ASKED = JobRequest("tune", ("client_0",), False, DAY, ROOT / "conf" / "clients.yaml", 1, budget=4)


def asked(job: JobContext, **changes: object) -> tuple[TuneJob, io.StringIO]:
    """The tune job for some arguments, and what it prints."""
    printed = io.StringIO()
    return TuneJob.asked(job, replace(ASKED, **changes), Console(file=printed, width=120)), printed  # type: ignore[arg-type]


@pytest.fixture
def delivered(prefix: Path, sample: Path) -> Path:
    """Client 0's products."""
    shutil.copytree(sample / "train" / "client_id=client_0", prefix / "train" / "client_id=client_0")
    return prefix


@pytest.fixture
def few(delivered: Path) -> Path:
    """The first 400 of them, in a file of the same name: a search among them takes seconds less."""
    (file,) = (delivered / "train" / "client_id=client_0").iterdir()
    pd.read_csv(file, dtype=str)[:400].to_csv(file, index=False)
    return delivered


FOUND = Scores(log_loss=0.5, top_5_accuracy=0.9, accuracy=0.8)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Searched:
    """Let a stub stand in for the search, for what is done with its result: it fits nothing and always finds FOUND.

    The list holds the rows that each search was given.
    """

    def stub(present: Scores | None) -> list[Rows]:
        given: list[Rows] = []

        def tune(spark: SparkSession, client: Client, rows: Broadcast[Rows], *more: Any) -> tuning.Tuned:
            given.append(rows.value)
            name, member = fixed_list(client.features, len(rows.value.places), len(rows.value.data.names))[0]
            found = Candidate(name, member, OutOfFold(np.zeros((0, 0))), FOUND)
            more[-1]([found], 1, found)
            choice = Choice(BlendSettings(blend=[member]), [found], np.zeros((0, 0)), FOUND)
            return tuning.Tuned(choice, present, [found])

        monkeypatch.setattr("bc4all.jobs.tune_job.tune", tune)
        return given

    return stub


def test_finds_a_better_model_and_writes_it(job: JobContext, delivered: Path, tmp_path: Path) -> None:
    """The winner lies beside the configuration, with what it scored, and is better when it is trained."""
    config = tmp_path / "clients.yaml"
    text = "defaults: {features: [f0, f1, f2, f3, f4]}\nclients:\n  # of ours\n  client_0:\n"
    config.write_text(text)
    present = make_client("client_0")
    work, printed = asked(job, config=config, write=True, budget=2)
    outcome = work.tune(present)
    assert (outcome.rows, outcome.note, outcome.version) == (1500, "", None)
    tuned = load_fleet(config).clients["client_0"]
    assert isinstance(tuned.model, BlendSettings)
    assert config.read_text() == text
    assert f"# tuned {DAY}: log-loss" in (tmp_path / "tuned" / "client_0.yaml").read_text()
    for told in (
        "client_0: tune: 2 of 2 tried, best: log-loss",
        "present: RandomForestClassifier",
        "tuned/client_0.yaml is written, and used from now on",
        "\nmodel:\n  blend:\n",
    ):
        assert told in printed.getvalue()
    train(job, present)
    train(job, tuned)
    before, after = (job.registry.find("client_0", number).tags for number in (1, 2))
    assert float(after["log_loss"]) < float(before["log_loss"])
    assert job.registry.aliases("client_0")["champion"] == 2


def test_mlflow_holds_each_candidate(job: JobContext, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for the client, and inside it one for each candidate, with what it scored and cost; all have ended.

    The table shows the same, and the rows were broadcast once for all of them.
    """
    sent: list[object] = []
    real = tasks.SharedValue

    def sharing(spark: Any, value: object, stays: bool) -> Any:
        sent.append(value)
        return real(spark, value, stays)

    monkeypatch.setattr(tasks, "SharedValue", sharing)
    work, printed = asked(job)
    outcome = work.tune(make_client("client_0"))
    assert [type(value) for value in sent] == [Rows]
    (head,) = [line for line in printed.getvalue().splitlines() if "candidate " in line and "log-loss" in line]
    assert [name.strip() for name in head.strip("┃").split("┃")][4:] == ["MB", "fit s", "us/row"]
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesTuning_client_0")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == outcome.run_id]
    assert parent.info.run_id == outcome.run_id
    assert parent.info.run_name == f"tuning_{DAY}"
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(children) == 4
    for child in children:
        costs = {"log_loss", "top_5_accuracy", "accuracy", "fit_seconds", "score_microseconds", "megabytes"}
        assert set(child.data.metrics) == costs
    assert parent.data.metrics["log_loss"] <= min(child.data.metrics["log_loss"] for child in children)
    (neural,) = [child for child in children if child.info.run_name == "neural"]
    assert (neural.data.params["alpha"], neural.data.params["SimpleImputer.strategy"]) == ("0.3", "median")
    found = client.download_artifacts(parent.info.run_id, "found.yaml")
    assert yaml.safe_load(Path(found).read_text())["model"]["blend"]


def test_what_a_training_holds_out_is_never_looked_at(job: JobContext, delivered: Path, searched: Searched) -> None:
    """Candidates see only products that the next training fits on, also where new ones have come since the champion."""
    seen = searched(None)
    client = make_client("client_0")
    (file,) = (delivered / "train" / "client_id=client_0").iterdir()
    products = pd.read_csv(file, dtype=str)
    products.iloc[:1100].to_csv(file, index=False)
    train(job, client)
    products.to_csv(file, index=False)
    work, _ = asked(job, budget=1)
    work.tune(client)
    train(job, client)
    (rows,) = seen
    sides = job.registry.sides(job.registry.find("client_0", 2))
    assert sides is not None
    fitted_on = sides.learned
    assert set(rows.data.ids[rows.places]) == set(fitted_on)
    assert len(fitted_on) < len(rows.data.ids) == 1500
    first, _ = split(rows.data.codes)
    assert set(rows.data.ids[first]) != set(fitted_on)  # which a tune without the champion would look at


def test_a_model_that_is_as_good_stays(job: JobContext, few: Path, tmp_path: Path) -> None:
    """Where nothing clearly better is found, nothing is written, and the line says so."""
    config = tmp_path / "clients.yaml"
    work, printed = asked(job, budget=2)
    work.tune(make_client("client_0"))
    said = yaml.safe_load(printed.getvalue()[printed.getvalue().index("\nmodel:") :])["model"]
    config.write_text(yaml.safe_dump({"defaults": {"features": ["f0"]}, "clients": {"client_0": {"model": said}}}))
    work, _ = asked(job, budget=1, config=config, write=True)
    outcome = work.tune(make_client("client_0", model=said, model_params={}))
    assert outcome.note.startswith("the present model stays: log-loss")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(("behind", "written"), [(MIN_GAIN / 2, False), (2 * MIN_GAIN, True)])
def test_a_little_better_is_not_better(
    job: JobContext, few: Path, tmp_path: Path, searched: Searched, behind: float, written: bool
) -> None:
    """The present model's place is taken by one whose log-loss is lower by more than MIN_GAIN alone."""
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients: {client_0: }\n")
    searched(replace(FOUND, log_loss=FOUND.log_loss + behind))
    work, _ = asked(job, config=config, write=True)
    assert work.tune(make_client("client_0")).note.startswith("the present model stays") is not written
    assert (tmp_path / "tuned" / "client_0.yaml").exists() is written


def test_limits_are_kept(job: JobContext, few: Path) -> None:
    """A candidate over a limit counts as failed, and says why; where all are, the client fails with that reason."""
    work, printed = asked(job, max_megabytes=0.5, budget=4)
    work.tune(make_client("client_0"))
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesTuning_client_0")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], "status = 'FAILED'")
    assert {run.info.run_name for run in runs} == {"neural", "neural_again", "extra_trees"}
    assert all("over the limit of 0.5" in run.data.tags["error"] for run in runs)
    table = printed.getvalue().split("candidates, the best of them")[1]
    assert ("forest" in table, "extra_trees" in table, "neural" in table) == (True, False, False)
    work, _ = asked(job, max_score_microseconds=0.001, budget=1)
    with pytest.raises(ModelError, match=r"no candidate can be had: .* score microseconds, over the limit"):
        work.tune(make_client("client_0"))


def test_a_dead_mlflow_does_not_end_the_search(
    job: JobContext, few: Path, searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that cannot be recorded is told of, and the search goes on."""

    def fails(*given: object) -> None:
        raise TransientFailure("MLflow: it cannot be reached")

    monkeypatch.setattr(job.registry.tracking, "record_child", fails)
    searched(None)
    work, printed = asked(job, budget=2)
    assert work.tune(make_client("client_0")).note == ""
    assert "candidates, the best of them" in printed.getvalue()


def test_what_was_found_is_not_lost_with_the_file(
    job: JobContext, few: Path, tmp_path: Path, searched: Searched
) -> None:
    """Where the configuration has changed in the meantime and cannot use the model, it is printed."""
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [{name: title, kind: text}]}\nclients: {client_0: }\n")
    (tmp_path / "tuned").mkdir()
    searched(None)
    work, printed = asked(job, config=config, write=True)
    with pytest.raises(ConfigurationError, match="tune the client with the configuration's own features"):
        work.tune(make_client("client_0"))
    assert "\nmodel:\n  blend:\n" in printed.getvalue()
    assert not list((tmp_path / "tuned").iterdir())


def test_says_what_hides_the_model(job: JobContext, few: Path, tmp_path: Path, searched: Searched) -> None:
    """It is written all the same; only people change what they wrote."""
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [f0]}\nclients: {client_0: {model_params: {n_estimators: 3}}}\n")
    searched(None)
    work, printed = asked(job, config=config, write=True)
    work.tune(make_client("client_0"))
    assert "entry in" in printed.getvalue()
    assert "hides it: remove model_params" in printed.getvalue()
    assert load_fleet(config).clients["client_0"].model_params == {"n_estimators": 3}


def test_auto_is_replaced_by_what_is_better_alone(job: JobContext, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first candidates are those of `model: auto`, fitted once for both, and no better than themselves."""
    fitted: list[str] = []
    real = blending.compare

    def watched(spark: SparkSession, client: Client, sample: blending.Sample, members: Any) -> Any:
        fitted.extend(name for name, _ in members)
        return real(spark, client, sample, members)

    monkeypatch.setattr(blending, "compare", watched)
    monkeypatch.setattr(tuning, "compare", watched)
    work, printed = asked(job, budget=3)
    outcome = work.tune(make_client("client_0", model="auto", model_params={}))
    assert outcome.note.startswith("the present model stays: log-loss")
    assert len(fitted) == len(set(fitted)) == 7
    assert "3 of 3 tried" in printed.getvalue()


def test_time_ends_the_search(job: JobContext, few: Path) -> None:
    """After --minutes no more candidates are begun; the first ones are tried in any case."""
    work, printed = asked(job, budget=None, minutes=1e-9)
    work.tune(make_client("client_0"))
    lines = [line for line in printed.getvalue().splitlines() if " tried, best" in line]
    assert len(lines) == 1
    assert "left" not in lines[0]


@pytest.mark.parametrize(
    ("effort", "left"),
    [(Effort(60), 150), (Effort(None, 600), 550), (Effort(60, 120), 70), (Effort(15), 0), (Effort(60, 30), 0)],
)
def test_the_time_left_is_that_of_the_pace_or_of_the_limit(effort: Effort, left: float) -> None:
    """Fifteen candidates took 50 s: what is less, of the time for the others and of what is left of --minutes."""
    assert effort.left(15, 50) == left


def test_a_client_without_labels_fails(job: JobContext, deliver: Deliver) -> None:
    """Rows that a training would refuse are refused, and nothing is written beside them."""
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n1,,0.5\n2,,0.1\n")
    work, _ = asked(job)
    with pytest.raises(DataError, match="2 of 2 rows refused"):
        work.tune(Client(id="x", features=["f0"]))
    assert not list((Path(job.layout.prefix.removeprefix("file:")) / "quarantine").rglob("*.parquet"))


def test_a_client_whose_categories_have_a_product_each_fails(job: JobContext, deliver: Deliver) -> None:
    """Nothing can be compared then: tuning and `model: auto` say so; a model that is named is trained."""
    deliver("train", "x", "a.csv", "product_id,category_id,f0\n" + "".join(f"{i},c{i},{i}\n" for i in range(12)))
    work, _ = asked(job)
    with pytest.raises(DataError, match="no category has two products"):
        work.tune(Client(id="x", features=["f0"]))
    with pytest.raises(DataError, match="no category has two products"):
        train(job, Client(id="x", features=["f0"], model="auto"))
    assert train(job, Client(id="x", features=["f0"])).version == 1


def test_only_the_search_for_titles_differs(job: JobContext, deliver: Deliver) -> None:
    """A client with text is tuned like any other."""
    rng = np.random.default_rng(0)
    lines = [f"p{i},{kind},{'abc'[kind] * 3} {rng.integers(9)}" for i, kind in enumerate(rng.integers(0, 3, 120))]
    deliver("train", "x", "a.csv", "product_id,category_id,title\n" + "\n".join(lines) + "\n")
    work, _ = asked(job, budget=3)
    outcome = work.tune(Client(id="x", features={"title": "text"}, model=TEXT_MODEL))
    run = MlflowClient(tracking_uri(job.layout)).get_run(str(outcome.run_id))
    assert run.data.metrics["accuracy"] == 1.0


class Killed(BaseException):
    """Ends the search as SIGKILL would."""


def test_a_tune_that_was_killed_is_closed_by_the_next_job(
    job: JobContext, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run in MLflow ends as KILLED, its staging folder goes; there is nothing else to put right."""

    def dies(*given: Any) -> None:
        parent = given[-1].__self__.run
        job.registry.tracking._create_run(parent.experiment_id, "a candidate", {"mlflow.parentRunId": parent.id})
        raise Killed

    work, _ = asked(job)
    with monkeypatch.context() as patched:
        patched.setattr("bc4all.jobs.tune_job.tune", dies)
        patched.setattr(
            "bc4all.registry.run.Run.recorded", contextlib.nullcontext
        )  # a killed process does not reach it
        patched.setattr("bc4all.data.publishing.Publisher.end", lambda publisher: None)
        with pytest.raises(Killed):
            work.tune(make_client("client_0"))
    staging = Path(job.layout.staged.removeprefix("file:"))
    assert len(list(staging.iterdir())) == 1
    recover(job.files, job.layout, State.from_environment(job.layout), 3600, job.registry.tracking.close_run)
    assert list(staging.iterdir()) == []
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesTuning_client_0")
    assert experiment
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"] * 2
