"""From a training to the champion, and back: which version is asked, and what people see of it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.cli.main import main
from bc4all.config.clients import Client, Fleet
from bc4all.config.settings import PromotionSettings
from bc4all.errors import ModelError
from bc4all.identity import ClientId, Day
from bc4all.jobs import promotion
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.registry.champions import Champions
from bc4all.registry.tracking import tracking_uri
from bc4all.schedule.operations import Operations
from tests.conftest import FEATURES, jobs_on, make_client, published_rows, write_file

Deliver = Callable[..., Path]
LINEAR = {"model": "sklearn.linear_model.LogisticRegression", "model_params": {}}
DUMMY = {"model": "sklearn.dummy.DummyClassifier", "model_params": {}}


def products(rows: int, seed: int = 0) -> pd.DataFrame:
    """Products whose category follows from their first feature."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)), columns=list(FEATURES))
    frame.insert(0, "product_id", [f"{seed}-{i:05}" for i in range(rows)])
    frame.insert(1, "category_id", np.where(frame["f0"] > 0.5, "high", np.where(frame["f0"] > -0.5, "mid", "low")))
    return frame


def deliver_both(prefix: Path) -> None:
    """Client x's products of both kinds."""
    write_file(prefix, "train", "x", "a.csv", products(600))
    write_file(prefix, "prediction", "x", "a.csv", products(50, seed=9).drop(columns="category_id"))


@pytest.fixture
def delivered(prefix: Path, deliver: Deliver) -> Deliver:
    """Client x's products of both kinds, and how to deliver more."""
    deliver_both(prefix)
    return deliver


@pytest.fixture(scope="module")
def trained_once(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix whose client x has a version, which became champion without a word. Tests start from a copy."""
    folder = tmp_path_factory.mktemp("trained once")
    shutil.copy(empty_mlflow, folder)
    deliver_both(folder)
    outcome = train(jobs_on(spark, folder), make_client("x"))
    assert (outcome.version, outcome.note) == (1, "")
    return folder


@pytest.fixture(scope="module")
def trained_twice(spark: SparkSession, trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix whose client x has two versions; the second became champion after the first."""
    folder = tmp_path_factory.mktemp("trained twice") / "data"
    shutil.copytree(trained_once, folder)
    job = jobs_on(spark, folder)
    assert train(job, make_client("x")).version == 2
    assert state(job) == ({"champion": 2}, [1, 2])
    return folder


def state(job: JobContext) -> tuple[dict[str, int], list[int]]:
    """Aliases, and versions in order."""
    return job.registry.aliases("x"), sorted(version.number for version in job.registry.versions("x"))


def latest_run(job: JobContext) -> dict[str, str]:
    """The tags of the client's last training."""
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesClassification_x")
    assert experiment
    return dict(client.search_runs([experiment.experiment_id], max_results=1)[0].data.tags)


def command(*words: str) -> str:
    """What `bc4all` prints; it must work."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.starts_from("trained_once")
def test_a_worse_version_stays_challenger_until_somebody_wills(job: JobContext, prefix: Path) -> None:
    """The champion goes on; a person may promote the other, and take it back; each change is recorded."""
    assert state(job) == ({"champion": 1}, [1])
    outcome = train(job, make_client("x", **DUMMY))
    assert outcome.note.startswith("version 2 was not promoted: accuracy -")
    assert state(job) == ({"champion": 1, "challenger": 2}, [1, 2])
    assert (latest_run(job)["promoted"], latest_run(job)["model_version"]) == ("False", "2")
    assert "on 60 rows: more than 0.01 behind" in latest_run(job)["gate"]
    assert predict(job, make_client("x")).version == 1
    assert command("promote", "--client-id", "x", "--version", "2") == "x: version 2 is champion\n"
    assert state(job) == ({"champion": 2}, [1, 2])
    assert predict(job, make_client("x")).version == 2
    assert set(published_rows(prefix, "x")["model_version"]) == {2}
    shown = command("versions", "--client-id", "x")
    assert " version 2 became champion: promoted by " in shown
    assert "│ 1          │" in shown
    assert "│ 2 champion │" in shown
    assert " Dummy " in shown
    assert command("rollback", "--client-id", "x") == "x: version 1 is champion again\n"
    assert predict(job, make_client("x")).version == 1
    assert [change.version for change in Champions(job.registry).changes("x")] == [1, 2, 1]


@pytest.mark.starts_from("trained_twice")
def test_dates_of_a_version_that_was_rolled_back_are_predicted_again(
    job: JobContext, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is replaced is shown, and nothing is without a yes; by the champion, those dates alone, each once."""
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients: {x: }\n")
    days = ["2026-01-28", "2026-01-29", "2026-01-30"]
    for day in days[1:]:
        predict(replace(job, day=Day(day)), make_client("x"))
    Champions(job.registry).rollback(ClientId("x"), "bad")
    predict(replace(job, day=Day(days[0])), make_client("x"))

    def run_in_process(self: Operations, fleet: Fleet, job_name: str, asked: dict[ClientId, Day], *_: object) -> int:
        (day,) = asked.values()
        predict(replace(job, day=day, backfilled=True), fleet.clients[ClientId("x")])
        return 0

    # bin/submit.sh would start another Java for each date.
    monkeypatch.setattr(Operations, "run_now", run_in_process)

    def outdated(*words: str, answer: str = "") -> tuple[int, str]:
        words = ("backfill", "--outdated", "--client-id", "x", "--config", str(config), *words)
        done = CliRunner().invoke(main, list(words), input=answer)
        return done.exit_code, done.output

    def versions() -> list[tuple[int, bool]]:
        folder = prefix / "products_categories" / "client_id=x"
        manifests = [json.loads((folder / f"date={day}" / "_manifest.json").read_text()) for day in days]
        return [(one["model_version"], one["backfilled"]) for one in manifests]

    code, shown = outdated(answer="n\n")
    assert (code, versions()) == (1, [(1, False), (2, False), (2, False)])
    assert "x: to be predicted again by the champion, now version 1, one after the other:" in shown
    assert "  2026-01-29: replaces what version 2 published, 50 products\n" in shown
    assert "2026-01-28" not in shown
    assert "Replace 2 dates?" in shown
    assert outdated("--from", "2026-01-30", "--yes")[0] == 0
    assert versions() == [(1, False), (2, False), (1, True)]
    assert outdated("--to", "2026-01-31", answer="y\n")[0] == 0
    assert versions() == [(1, False), (1, True), (1, True)]
    assert set(published_rows(prefix, "x", "2026-01-29")["model_version"]) == {1}
    assert outdated() == (0, "x: no published date was made by a version that was rolled back\n")


def test_a_small_clients_recipes_are_compared(job: JobContext, deliver: Deliver) -> None:
    """Where hardly a row is held out, the champion's recipe and the new one are asked out of fold, about all rows."""
    deliver("train", "x", "a.csv", products(200))
    assert train(job, make_client("x")).note == ""
    outcome = train(job, make_client("x", **DUMMY))
    assert outcome.note.startswith("version 2 was not promoted: accuracy -")
    assert "against the champion's recipe, out of fold, on 200 rows: more than 0.01 behind" in outcome.note
    assert "only 20 held-out rows are new to the champion" in train(job, make_client("x")).note
    assert state(job) == ({"champion": 3}, [1, 2, 3])
    assert train(job, make_client("x", model_params={"n_estimators": 60})).note == ""
    assert "against the champion's recipe, out of fold, on 200 rows" in latest_run(job)["gate"]


def test_the_champion_is_not_asked_what_it_has_learned(job: JobContext, delivered: Deliver) -> None:
    """What was held out then is held out now, and one in ten of the products that came since."""
    overfitted = make_client("x", model="sklearn.neighbors.KNeighborsClassifier", model_params={"n_neighbors": 1})
    train(job, overfitted)
    delivered("train", "x", "b.csv", products(600, seed=1))
    outcome = train(job, make_client("x"))
    assert outcome.note == ""
    compared = int(latest_run(job)["gate"].partition("champion's on ")[2].split()[0])
    sides = [job.registry.sides(job.registry.find("x", number)) for number in (1, 2)]
    before, now = [side for side in sides if side is not None and side.held_out is not None]
    assert (len(before.learned), len(before.held_out)) == (540, 60)
    assert (len(now.learned) + len(now.held_out), compared) == (1200, len(now.held_out))
    assert set(before.held_out) < set(now.held_out)
    assert set(before.learned) < set(now.learned)
    assert 100 < compared < 140


def by_heart(**said: object) -> Client:
    """A client whose model answers what it has learned rightly, and nothing else: its categories are drawn by lot."""
    nearest = {"model": "sklearn.neighbors.KNeighborsClassifier", "model_params": {"n_neighbors": 1}}
    return make_client("x", **nearest, **said)


def lots() -> pd.DataFrame:
    """Client x's products, of categories from which nothing follows."""
    frame = products(400)
    frame["category_id"] = np.random.default_rng(5).choice(["a", "b", "c"], len(frame))
    return frame


@pytest.fixture(scope="module")
def refitted(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix whose client x, with those products, has a version that has learned them all by heart."""
    folder = tmp_path_factory.mktemp("refitted")
    shutil.copy(empty_mlflow, folder)
    write_file(folder, "train", "x", "a.csv", lots())
    assert train(jobs_on(spark, folder), by_heart(refit=True)).version == 1
    return folder


@pytest.mark.starts_from("refitted")
def test_what_is_registered_has_learned_from_every_product(job: JobContext) -> None:
    """The figures are another model's, which had not seen a tenth; where nothing is said, there is one model."""
    version, frame = job.registry.find("x"), lots()
    X, y = frame[list(FEATURES)].to_numpy(), frame["category_id"].to_numpy()
    used, judged = (load("x", version).model for load in (job.registry.load, job.registry.load_judged))
    right = [(model.classes_[model.predict_proba(X).argmax(axis=1)] == y).sum() for model in (used, judged)]
    assert right[0] == 400
    assert right[1] == 360 + round(40 * float(version.tags["accuracy"]))
    assert float(version.tags["accuracy"]) < 0.6
    train(job, by_heart())
    version = job.registry.find("x", 2)
    assert "judged_sha256" not in version.tags
    found = job.registry.load("x", version).model
    assert (found.classes_[found.predict_proba(X).argmax(axis=1)] == y).sum() == right[1]


@pytest.mark.starts_from("refitted")
def test_versions_are_compared_by_what_has_not_seen_the_held_out(job: JobContext) -> None:
    """The champion has learned by heart what is held out now: it is its figures' model that is asked."""
    assert train(job, by_heart(refit=True)).note == ""
    assert latest_run(job)["gate"] == "accuracy +0.0000 [+0.0000, +0.0000] against the champion's on 40 rows"
    assert state(job) == ({"champion": 2}, [1, 2])
    assert [(change.gain, change.metric) for change in Champions(job.registry).changes("x")] == [
        (None, ""),
        (0.0, "accuracy"),
    ]


@pytest.mark.starts_from("refitted")
def test_a_spoilt_model_of_the_figures_is_not_asked(job: JobContext, prefix: Path) -> None:
    """Nothing is compared with it, the next version says so, and the champion that is used is not touched by it."""
    (file,) = prefix.glob("mlartifacts/*/models/*/artifacts/data/model/judged/model.skops")
    file.write_bytes(file.read_bytes() + b" ")
    job.registry.load("x", job.registry.find("x"))
    assert (
        "the champion cannot be read, and was not compared: the model file model.skops has the"
        in train(job, by_heart()).note
    )


@pytest.mark.usefixtures("delivered")
def test_modes_and_the_bar(job: JobContext) -> None:
    """A dry run promotes nothing, a bar keeps the first version out, and no gate lets anything in."""
    train(job, make_client("x", promotion=PromotionSettings(mode="dry_run")))
    assert state(job) == ({"challenger": 1}, [1])
    assert latest_run(job)["gate"] == "dry run, it would be promoted: there is no champion"
    with pytest.raises(ModelError, match="x_model has no champion"):
        predict(job, make_client("x"))
    train(job, make_client("x", **DUMMY, promotion=PromotionSettings(min_value=0.9)))
    assert state(job) == ({"challenger": 2}, [1, 2])
    train(job, make_client("x", **DUMMY, promotion=PromotionSettings(mode="disabled")))
    assert state(job) == ({"champion": 3}, [1, 2, 3])


@pytest.mark.starts_from("trained_twice")
def test_old_versions_are_pruned(job: JobContext, prefix: Path) -> None:
    """The newest stay, and the champion, the one before it and the challenger, whatever their age; files go, too."""
    for _ in range(3):
        train(job, make_client("x", **DUMMY, keep_versions=2))
    assert state(job) == ({"champion": 2, "challenger": 5}, [1, 2, 4, 5])
    assert len(list(prefix.glob("mlartifacts/*/models/*/artifacts/MLmodel"))) == 4
    assert len(list(prefix.glob("mlartifacts/*/*/artifacts/training_ids.npy"))) == 4
    client = job.registry.tracking.client
    experiments = [one.experiment_id for one in job.registry.tracking.experiments([make_client("x").id])]
    assert len(client.search_logged_models(experiments)) == 4
    assert command("rollback", "--client-id", "x") == "x: version 1 is champion again\n"


@pytest.mark.starts_from("trained_once")
def test_a_version_that_cannot_be_read_back_never_moves(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it may be champion, a version is downloaded, checked and asked once."""
    check = promotion._check_reloaded

    def damaged(*arguments: object) -> None:
        newest = max(prefix.glob("mlartifacts/*/models/*/artifacts/data/model/*"), key=lambda f: f.stat().st_mtime_ns)
        (newest.parent / "forest.npz").write_bytes(b"")
        check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(promotion, "_check_reloaded", damaged)
    with pytest.raises(ModelError, match="has the digest"):
        train(job, make_client("x"))
    assert state(job)[0]["champion"] == 1


def spoil_files(job: JobContext, prefix: Path) -> Client:
    """The champion's files are gone."""
    for file in prefix.glob("mlartifacts/*/models/*/artifacts/MLmodel"):
        file.unlink()
    return make_client("x")


def fewer_features(job: JobContext, prefix: Path) -> Client:
    """The champion needs columns that are no features any more."""
    return make_client("x", features=FEATURES[:2])


def another_kind(job: JobContext, prefix: Path) -> Client:
    """What was a number is a category now."""
    return make_client("x", features=[{"name": "f0", "kind": "category"}, *FEATURES[1:]], **LINEAR)


@pytest.mark.starts_from("trained_once")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (another_kind, "the champion needs f0 as it was: not compared"),
        (spoil_files, "the champion cannot be read, and was not compared: x_model version 1 has no files"),
        (fewer_features, "the champion needs f2, f3, f4 as it was: not compared"),
    ],
)
def test_a_champion_that_cannot_be_asked_is_no_bar(
    job: JobContext, prefix: Path, change: Callable[[JobContext, Path], Client], reason: str
) -> None:
    """A champion that cannot answer keeps nobody from its place, and that is said where people look."""
    assert train(job, change(job, prefix)).note.startswith(f"version 2 was promoted: {reason}")
    assert state(job)[0] == {"champion": 2}
    assert latest_run(job)["gate"].startswith(reason)


@pytest.mark.starts_from("trained_twice")
def test_rolling_back_goes_back(job: JobContext) -> None:
    """Twice is two champions back, not forth again; a champion that MLflow's pages made counts, too."""
    train(job, make_client("x", promotion=PromotionSettings(mode="dry_run")))
    job.registry.set_alias(job.registry.find("x", 3), "champion")
    champions = Champions(job.registry)
    champions.promote("x", job.registry.find("x", 3), "again")
    assert [change.version for change in champions.changes("x")] == [1, 2, 3, 3]
    assert champions.rollback("x", "bad").number == 2
    assert champions.rollback("x", "bad, too").number == 1
    with pytest.raises(ModelError, match="no version was champion before this one"):
        champions.rollback("x", "worse")
    champions.promote("x", job.registry.find("x", 2), "better after all")
    assert champions.before("x") == 1


@pytest.mark.starts_from("trained_twice")
def test_the_record_does_not_grow_for_ever(job: JobContext) -> None:
    """MLflow's databases take a tag of 5000 characters: the latest changes stay, whatever people write."""
    champions, versions = Champions(job.registry), [job.registry.find("x", number) for number in (1, 2)]
    for number in range(40):
        champions.promote("x", versions[number % 2], "é" * 1000)
    assert len(job.registry.registered("x").tags["champions"]) < 5000
    assert champions.changes("x")[-1].version == 2
    assert champions.rollback("x", "back").number == 1


@pytest.mark.starts_from("trained_once")
def test_pruning_takes_no_files_that_are_not_its_own(job: JobContext, prefix: Path) -> None:
    """A version that points to another one's files, or to another client's, goes without them."""
    first = job.registry.find("x", 1)
    uri = tracking_uri(job.layout)
    client = MlflowClient(uri, uri)  # whose registry would else be another test's
    elsewhere = prefix / "mlartifacts" / "ProductCategoriesClassification_y" / "model"
    elsewhere.mkdir(parents=True)
    (elsewhere / "MLmodel").write_text("another client's")
    for source in (first.uri, str(elsewhere)):
        client.create_model_version("x_model", source, run_id=first.run_id)
    for _ in range(2):
        train(job, make_client("x", **DUMMY, keep_versions=2))
    assert state(job)[1] == [1, 4, 5]
    assert (elsewhere / "MLmodel").exists()
    assert predict(job, make_client("x")).version == 1


@pytest.mark.starts_from("trained_once")
def test_wrong_words_are_answered(job: JobContext) -> None:
    """A version that is not there, no version at all, nobody before: each is told with what there is."""
    for words, code, said in (
        (["promote", "--client-id", "x", "--version", "9"], 2, "x_model has no version 9 (it has 1)"),
        (["rollback", "--client-id", "x"], 1, "no version was champion before this one"),
        (["versions", "--client-id", "y"], 1, "y_model has no version"),
        (["suspects", "--client-id", "x", "--version", "9"], 1, "x_model has no version 9"),
    ):
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, said in done.output) == (code, True), done.output
