"""Both jobs from partition to published rows, held against plain scikit-learn and plain pandas."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split

from bc4all.errors import DataError, ModelError
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.registry.tracking import tracking_uri
from tests.conftest import DAY, FEATURES, make_client, published_rows, run_fleet

Deliver = Callable[..., Path]


def table(prefix: Path, kind: str, client_id: str) -> pd.DataFrame:
    """A client's csv.gz by plain pandas, ids as text."""
    (file,) = (prefix / kind / f"client_id={client_id}").glob("*.csv.gz")
    return pd.read_csv(file, dtype={"product_id": str, "category_id": str})


class Smoothed:
    """A forest of scikit-learn's with some more votes, spread evenly."""

    def __init__(self, forest: RandomForestClassifier, votes: float) -> None:
        self.forest, self.votes, self.classes_ = forest, votes, forest.classes_

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        trees = self.forest.n_estimators
        sums = trees * self.forest.predict_proba(X) + self.votes / len(self.classes_)
        return np.asarray(sums / (trees + self.votes))


def stable_top_five(model: object, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = model.predict_proba(X)  # type: ignore[attr-defined]
    best = np.argsort(-p, axis=1, kind="stable")[:, :5]
    return model.classes_[best], np.take_along_axis(p, best, axis=1).astype(np.float32)  # type: ignore[attr-defined]


def assert_published(prefix: Path, client_id: str, model: object) -> None:
    """The published partition holds exactly the model's stable top five of every product."""
    products = table(prefix, "prediction", client_id).sort_values("product_id", ignore_index=True)
    labels, scores = stable_top_five(model, products[list(FEATURES)].to_numpy())
    rows, ranks = published_rows(prefix, client_id), labels.shape[1]
    assert rows["product_id"].tolist() == np.repeat(products["product_id"], ranks).tolist()
    assert rows["rank"].tolist() == list(range(ranks)) * len(products)
    assert rows["pred_label"].tolist() == labels.ravel().tolist()
    np.testing.assert_allclose(rows["pred_score"].to_numpy(), scores.ravel(), rtol=1e-6)


def test_a_real_client_equals_plain_scikit_learn(job: JobContext, prefix: Path, seed: Path) -> None:
    """Trained and scored by Spark, a real client's categories and figures are scikit-learn's, to the last row.

    Its scores are smoothed, so that no category is without a chance.
    """
    for kind in ("train", "prediction"):
        shutil.copytree(seed / kind / "client_id=client_3", prefix / kind / "client_id=client_3")
    client = make_client("client_3", model_params={"n_estimators": 30, "random_state": 5})
    trained, predicted = train(job, client), predict(job, client)
    data = table(prefix, "train", "client_3")
    X_train, X_test, y_train, y_test = train_test_split(
        data[list(FEATURES)].to_numpy(), data["category_id"].to_numpy(), test_size=0.1, random_state=1234
    )
    model = RandomForestClassifier(30, random_state=5).fit(X_train, y_train)
    smoothed = Smoothed(model, job.registry.load(client.id, job.registry.find(client.id)).model.smoothing)
    assert_published(prefix, "client_3", smoothed)
    labels, _ = stable_top_five(model, X_test)
    assert trained.top_5 == pytest.approx((labels == y_test[:, None]).any(axis=1).mean())
    assert (trained.rows, predicted.rows, predicted.version) == (16_222, 5_799, 1)
    assert predicted.top_5 == pytest.approx(trained.top_5, abs=1e-4)  # as it is registered
    run = runs(prefix, "ProductCategoriesClassification_client_3")[0]
    answers, probabilities = model.predict(X_test), smoothed.predict_proba(X_test)
    assert run.data.metrics["log_loss"] < 0.6 * log_loss(y_test, model.predict_proba(X_test), labels=model.classes_)
    assert run.data.metrics["accuracy"] == pytest.approx(accuracy_score(y_test, answers))
    assert run.data.metrics["f1_macro"] == pytest.approx(f1_score(y_test, answers, average="macro"))
    assert run.data.metrics["f1_weighted"] == pytest.approx(f1_score(y_test, answers, average="weighted"))
    assert run.data.metrics["log_loss"] == pytest.approx(log_loss(y_test, probabilities, labels=model.classes_))
    assert run.data.metrics["training_accuracy"] == pytest.approx(model.score(X_train, y_train))


def runs(prefix: Path, experiment: str) -> list[mlflow.entities.Run]:
    client = MlflowClient(f"sqlite:///{prefix}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def few(categories: int, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(categories)
    frame = pd.DataFrame(rng.normal(size=(rows, 5)).round(2), columns=list(FEATURES))
    frame.insert(0, "product_id", [f"{i:05}" for i in range(rows)])
    frame.insert(1, "category_id", [f"k{i % categories}" for i in range(rows)])
    return frame


@pytest.mark.parametrize("categories", [2, 3])
def test_a_client_with_few_categories_gets_as_many_rows(
    job: JobContext, prefix: Path, deliver: Deliver, categories: int
) -> None:
    """Two categories give two rows a product, three give three: no id is repeated to fill five."""
    data = few(categories)
    deliver("train", "small", "a.csv.gz", data)
    deliver("prediction", "small", "a.csv.gz", data.drop(columns="category_id"))
    train(job, make_client("small"))
    predict(job, make_client("small"))
    rows = published_rows(prefix, "small")
    assert len(rows) == categories * len(data)
    assert (rows.groupby("product_id")["pred_label"].nunique() == categories).all()
    np.testing.assert_allclose(rows.groupby("product_id")["pred_score"].sum(), 1, atol=1e-6)


def test_another_classifier_goes_the_same_way(job: JobContext, prefix: Path, sample: Path) -> None:
    """A linear model is fitted whole, kept by skops, and published like a forest."""
    shutil.copytree(sample, prefix, dirs_exist_ok=True)
    client = make_client("client_0", model="sklearn.linear_model.LogisticRegression", model_params={"C": 10.0})
    train(job, client)
    predict(job, client)
    data = table(prefix, "train", "client_0")
    X_train, _, y_train, _ = train_test_split(
        data[list(FEATURES)].to_numpy(), data["category_id"].to_numpy(), test_size=0.1, random_state=1234
    )
    assert_published(prefix, "client_0", LogisticRegression(C=10.0).fit(X_train, y_train))


@pytest.mark.starts_from("published_sample")
def test_a_rerun_replaces_the_date_whole_with_the_same_bytes(job: JobContext, prefix: Path) -> None:
    """The same date again gives the same rows in the same files, once; nothing is left in staging."""
    folder = prefix / "products_categories" / "client_id=client_0" / f"date={DAY}"
    contents = []
    for again in (False, True):
        if again:
            predict(job, make_client("client_0"))
        contents.append(sorted(file.read_bytes() for file in folder.glob("*.parquet")))
        assert len(published_rows(prefix, "client_0")) == 1500 * 5
    assert contents[0] == contents[1]
    assert not list((prefix / "_staging").glob("*"))
    manifest = json.loads((folder / "_manifest.json").read_text())
    assert (manifest["rows_in"], manifest["rows_out"], manifest["model_version"]) == (1500, 7500, 1)
    assert {entry["name"]: entry["bytes"] for entry in manifest["files"]} == {
        file.name: file.stat().st_size for file in folder.glob("*.parquet")
    }


@pytest.mark.starts_from("published_sample")
def test_a_named_version_scores_instead_of_the_champion(job: JobContext, prefix: Path) -> None:
    """The champion is the newest training; an older version is used when asked for by number."""
    train(job, make_client("client_0"))
    assert predict(job, make_client("client_0")).version == 2
    assert predict(job, make_client("client_0"), 1).version == 1
    assert set(published_rows(prefix, "client_0")["model_version"]) == {1}
    with pytest.raises(ModelError, match="client_0_model has no version 9"):
        predict(job, make_client("client_0"), 9)


def test_features_come_from_the_models_signature(job: JobContext, prefix: Path, sample: Path) -> None:
    """What the configuration says after a training does not change how its version reads products."""
    shutil.copytree(sample, prefix, dirs_exist_ok=True)
    train(job, make_client("client_0", features=("f3", "f1")))
    predict(job, make_client("client_0", features=("f0", "nowhere")))
    assert len(published_rows(prefix, "client_0")) == 7500


def test_refused_rows_are_kept_with_their_reasons(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """Refused rows lie in quarantine beside a count of reasons; a clean rerun takes them away again."""
    data = few(3, 100)
    bad = data.to_csv(index=False) + "bad,k1,x,1,1,1,1\n"
    deliver("train", "x", "a.csv", bad)
    outcome = train(job, make_client("x"))
    assert (outcome.rows, outcome.quarantined) == (100, 1)
    folder = prefix / "quarantine" / "train" / "client_id=x" / f"date={DAY}"
    (kept,) = pd.read_parquet(folder).to_dict("records")
    assert (kept["product_id"], kept["f0"], kept["reason"]) == ("bad", "x", "f0 is no number")
    assert json.loads((folder / "_manifest.json").read_text())["reasons"] == {"f0 is no number": 1}
    deliver("train", "x", "a.csv", data)
    train(job, make_client("x"))
    assert not folder.exists()


def test_too_many_refused_rows_fail_the_client(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """Above max_quarantine nothing is registered, the rows are kept, and the error says which limit to raise."""
    text = few(3, 20).to_csv(index=False) + "".join(f"b{i},k1,x,1,1,1,1\n" for i in range(2))
    deliver("train", "x", "a.csv", text)
    with pytest.raises(DataError, match=r"2 of 22 rows refused, most for: f0 is no number .*raise max_quarantine"):
        train(job, make_client("x"))
    assert len(pd.read_parquet(prefix / "quarantine" / "train" / "client_id=x" / f"date={DAY}")) == 2
    assert not MlflowClient(f"sqlite:///{prefix}/mlflow.db").search_registered_models()
    (run,) = runs(prefix, "ProductCategoriesClassification_x")
    assert (run.info.status, "2 of 22 rows" in run.data.tags["error"]) == ("FAILED", True)
    assert train(job, make_client("x", max_quarantine=0.5)).version == 1


def test_one_category_fails_the_client(job: JobContext, deliver: Deliver) -> None:
    """A classifier needs two categories."""
    deliver("train", "x", "a.csv", few(1))
    with pytest.raises(DataError, match="there is 1 category where a classifier needs two"):
        train(job, make_client("x"))


def test_what_scikit_learn_refuses_fails_the_client(job: JobContext, deliver: Deliver) -> None:
    """A model that does not take missing values fails with scikit-learn's own words."""
    data = few(3)
    data.loc[3, "f0"] = np.nan
    deliver("train", "x", "a.csv", data)
    with pytest.raises(ModelError, match=r"contains NaN.*LogisticRegression"):
        train(job, make_client("x", model="sklearn.linear_model.LogisticRegression", model_params={}))


def test_products_that_the_model_refuses_fail_the_client_for_good(
    job: JobContext, prefix: Path, deliver: Deliver
) -> None:
    """A linear model meets a missing value only when it scores: scikit-learn's words, exit 1, nothing published."""
    data = few(3)
    deliver("train", "x", "a.csv", data)
    client = make_client("x", model="sklearn.linear_model.LogisticRegression", model_params={})
    train(job, client)
    data.loc[3, "f0"] = np.nan
    deliver("prediction", "x", "a.csv", data.drop(columns="category_id"))
    (outcome,) = run_fleet(job.spark, "predict", [client], partial(predict, job), max_parallel=1)
    assert outcome.exit_code == 1
    assert str(outcome.error).startswith("x: predict failed: Input X contains NaN")
    assert not (prefix / "products_categories" / "client_id=x").exists()


def test_a_category_of_one_row_is_learned(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """A category with a single product stays in the training part, wherever the split would have put it."""
    data = few(3, 40)
    data["category_id"] = [f"only{i}" if i < 20 else "many" for i in range(40)]
    deliver("train", "x", "a.csv", data)
    deliver("prediction", "x", "a.csv", data.drop(columns="category_id"))
    train(job, make_client("x", model_params={"n_estimators": 60, "random_state": 1}))
    loaded = job.registry.load("x", job.registry.find("x"))
    assert set(loaded.model.classes_) == {*(f"only{i}" for i in range(20)), "many"}


@pytest.mark.parametrize(
    "params", [{}, {"class_weight": "balanced"}, {"class_weight": {"k0": 2.0, "k1": 1.0, "k2": 1.0}}]
)
def test_trees_fitted_apart_are_the_forest_fitted_whole(
    job: JobContext, deliver: Deliver, params: dict[str, object]
) -> None:
    """Chunks of trees on executors merge to the forest of one scikit-learn fit, node for node."""
    from bc4all.model.forest import CompactForest
    from bc4all.model.held_out import split

    data = few(3, 300)
    deliver("train", "x", "a.csv", data)
    train(job, make_client("x", model_params={"n_estimators": 7, "random_state": 3, **params}))
    loaded = job.registry.load("x", job.registry.find("x")).model
    training, _ = split(data["category_id"].astype("category").cat.codes.to_numpy())
    whole = RandomForestClassifier(7, random_state=3, **params)
    whole.fit(data[list(FEATURES)].to_numpy()[training], data["category_id"].to_numpy()[training])
    assert isinstance(loaded, CompactForest)
    np.testing.assert_array_equal(loaded.nodes, CompactForest.from_sklearn(whole).nodes)


@pytest.mark.starts_from("published_sample")
def test_a_training_run_says_what_it_made(prefix: Path) -> None:
    """One run holds parameters, metrics of both parts, tables, figures, the data's digest and the tags of DESIGN."""
    (run,) = runs(prefix, "ProductCategoriesClassification_client_0")
    assert run.info.run_name == f"training_{DAY}"
    assert {"client_id", "job", "code_version", "config_sha"} <= run.data.tags.keys()
    measured = {"accuracy", "top_5_accuracy", "f1_macro", "f1_weighted", "log_loss"}
    assert measured | {f"training_{name}" for name in measured} <= run.data.metrics.keys()
    assert run.data.params["n_estimators"] == "10"
    assert len(run.inputs.dataset_inputs) == 1
    client = MlflowClient(f"sqlite:///{prefix}/mlflow.db")
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"categories_held_out.csv", "confusion_held_out.svg", "reliability.svg"} <= names
    version = client.get_model_version_by_alias("client_0_model", "champion")
    assert (int(version.version), version.run_id) == (1, run.info.run_id)


@pytest.mark.starts_from("published_sample")
def test_mlflows_own_loader_answers_with_the_top_five(
    job: JobContext, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People who load a version through MLflow get the rows that the job would publish."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(job.layout))
    products = table(prefix, "prediction", "client_0")
    answer = mlflow.pyfunc.load_model("models:/client_0_model@champion").predict(products)
    expected = published_rows(prefix, "client_0").drop(columns="model_version")
    answer = answer.sort_values(["product_id", "rank"], ignore_index=True)
    pd.testing.assert_frame_equal(answer, expected, check_dtype=False)
