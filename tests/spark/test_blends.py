"""Blends, calibration and `model: auto` through the jobs, held against plain scikit-learn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from bc4all.config.clients import Client
from bc4all.config.estimators import build_member
from bc4all.errors import ModelError
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.learning.candidates import fixed_list
from bc4all.model.blend import Blend, EmbeddedForest
from bc4all.model.held_out import split
from bc4all.registry.tracking import tracking_uri
from bc4all.registry.versions import LoadedModel
from tests.conftest import FEATURES, deliver_some, make_client, published_rows

Deliver = Callable[..., Path]
TREES = {"n_estimators": 20, "random_state": 3, "min_samples_leaf": 2}
VOTE = {
    "blend": [
        {"classifier": "sklearn.ensemble.ExtraTreesClassifier", "params": TREES, "weight": 2.0},
        {
            "classifier": "sklearn.linear_model.LogisticRegression",
            "params": {"C": 10.0, "max_iter": 500},
            "transform": ["sklearn.preprocessing.StandardScaler"],
        },
    ]
}


def delivered(prefix: Path, source: Path, client_id: str, rows: int = 1500) -> pd.DataFrame:
    """A client's first products of both kinds, delivered, and those to learn from."""
    deliver_some(source, prefix, client_id, rows)
    (file,) = (prefix / "train" / f"client_id={client_id}").glob("*.csv.gz")
    return pd.read_csv(file, dtype={"product_id": str, "category_id": str})


def champion(job: JobContext, client_id: str) -> LoadedModel:
    """The champion, as the predict job reads it."""
    return job.registry.load(client_id, job.registry.find(client_id))


def logged(job: JobContext, client_id: str) -> dict[str, str]:
    """The parameters of the client's last training."""
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name(f"ProductCategoriesClassification_{client_id}")
    assert experiment
    return dict(client.search_runs([experiment.experiment_id], max_results=1)[0].data.params)


def test_a_blend_votes_as_scikit_learn_does(job: JobContext, prefix: Path, sample: Path) -> None:
    """Fitted as Spark tasks, stored, and asked by the predict job: a VotingClassifier's answers, the forest compact."""
    data = delivered(prefix, sample, "client_1")
    client = make_client("client_1", model=VOTE, model_params={})
    train(job, client)
    predict(job, client)
    X, y = data[list(FEATURES)].to_numpy(), data["category_id"].to_numpy(dtype=object)
    training, _ = split(pd.factorize(y, sort=True)[0])
    forest = ExtraTreesClassifier(**TREES)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=500))
    vote = VotingClassifier([("f", forest), ("l", linear)], voting="soft", weights=[2.0, 1.0]).fit(
        X[training], y[training]
    )
    (file,) = (prefix / "prediction" / "client_id=client_1").glob("*.csv.gz")
    products = pd.read_csv(file, dtype={"product_id": str}).sort_values("product_id")
    wanted = np.sort(vote.predict_proba(products[list(FEATURES)].to_numpy()), axis=1)[:, ::-1][:, :5]
    found = published_rows(prefix, "client_1")["pred_score"].to_numpy().reshape(-1, 5)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    model = champion(job, "client_1").model
    assert isinstance(model, Blend)
    assert isinstance(model.members[0], EmbeddedForest)
    assert "StandardScaler" in logged(job, "client_1")["blend"]


def test_calibration_is_inside_the_model(job: JobContext, prefix: Path, sample: Path) -> None:
    """Trees that are too sure of themselves have a better log-loss when calibrated; the calibrator comes with them."""
    delivered(prefix, sample, "client_0")
    forest = {
        "classifier": "sklearn.ensemble.ExtraTreesClassifier",
        "params": {"n_estimators": 15, "random_state": 0},
    }
    losses = {}
    for calibrate in (None, "sigmoid"):
        said = {"blend": [forest], **({"calibrate": calibrate} if calibrate else {})}
        client = make_client("client_0", model=said, model_params={}, promotion={"mode": "disabled"})
        train(job, client)
        loaded = champion(job, "client_0")
        losses[calibrate] = float(loaded.version.tags["log_loss"])
        assert loaded.version.tags["model"] == client.model_name
    assert losses["sigmoid"] < losses[None] - 0.2
    assert isinstance(loaded.model, Blend)
    assert isinstance(loaded.model.members[0], EmbeddedForest)


def test_fitted_again_a_blend_keeps_its_calibration(job: JobContext, deliver: Deliver) -> None:
    """It was learned out of fold; the forest inside learns from all rows, and is as compact as before."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 5)), columns=list(FEATURES))
    frame.insert(0, "product_id", [f"p{i:03}" for i in range(300)])
    frame.insert(1, "category_id", np.where(frame["f0"] + rng.normal(size=300) > 0, "high", "low"))
    deliver("train", "x", "a.csv", frame)
    forest = {"classifier": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5, "random_state": 0}}
    train(job, make_client("x", model={"blend": [forest], "calibrate": "sigmoid"}, model_params={}, refit=True))
    version = job.registry.find("x")
    judged, used = (load("x", version).model for load in (job.registry.load_judged, job.registry.load))
    for model in (judged, used):
        assert isinstance(model, Blend)
        assert isinstance(model.members[0], EmbeddedForest)
    share = rng.uniform(size=50)
    rows = np.stack([share, 1 - share], axis=1)
    np.testing.assert_array_equal(*(model.calibrator.predict_proba(rows) for model in (judged, used)))
    X = frame[list(FEATURES)].to_numpy()
    assert (judged.members[0].predict_proba(X) != used.members[0].predict_proba(X)).any()


def test_auto_registers_the_best_of_its_list(job: JobContext, prefix: Path, sample: Path) -> None:
    """It is better than the default forest on rows that neither has seen, and the run says what was chosen."""
    delivered(prefix, sample, "client_2", rows=600)
    train(job, make_client("client_2"))
    default = champion(job, "client_2").version
    train(job, make_client("client_2", model="auto", model_params={}))
    chosen = champion(job, "client_2").version
    assert chosen.number == default.number + 1
    assert float(chosen.tags["log_loss"]) < float(default.tags["log_loss"])
    said = logged(job, "client_2")
    assert said["model"] == "auto"
    assert Client(id="x", features=FEATURES, model=json.loads(said["blend"])).blend
    assert predict(job, make_client("client_2", model="auto", model_params={})).rows == 600


def test_auto_takes_titles(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """A client with text has a list of its own; a title that tells nothing is answered all the same."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 240)
    titles = [f"{['mobile', 'cool box', 'lens'][kind]} {rng.integers(50)}" for kind in kinds]
    ids = [f"p{i}" for i in range(240)]
    deliver("train", "x", "a.csv", pd.DataFrame({"product_id": ids, "category_id": kinds, "title": titles}))
    deliver("prediction", "x", "a.csv", pd.DataFrame({"product_id": ["a", "b"], "title": ["cool lens box", ""]}))
    client = Client(id="x", features={"title": "text"}, model="auto")
    train(job, client)
    assert float(champion(job, "x").version.tags["accuracy"]) == 1.0
    predict(job, client)
    assert published_rows(prefix, "x")["product_id"].unique().tolist() == ["a", "b"]


def test_numbers_may_be_missing(job: JobContext, prefix: Path, sample: Path) -> None:
    """In training or only in what is to be predicted: every family of the list copes with it."""
    data = delivered(prefix, sample, "client_1", rows=600)
    (file,) = (prefix / "prediction" / "client_id=client_1").glob("*.csv.gz")
    products = pd.read_csv(file, dtype={"product_id": str})
    products.loc[::3, "f0"] = np.nan
    products.to_csv(file, index=False)
    client = make_client("client_1", model="auto", model_params={})
    train(job, client)
    assert predict(job, client).rows == 600
    data.loc[::5, ["f1", "f2"]] = np.nan
    X = data[list(FEATURES)].to_numpy()
    for name, member in fixed_list(client.features, len(X), data["category_id"].nunique()):
        model = build_member(member, client.features).fit(X, data["category_id"])
        assert np.isfinite(model.predict_proba(X)).all(), name


def test_a_forest_over_categories_is_compact(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """Where a feature is a category, the forest's own encoder goes with it, and it answers as scikit-learn's does."""
    rng = np.random.default_rng(0)
    brand, size = rng.choice(["acme", "frost", "iris", ""], 400), rng.normal(size=400).round(3)
    label = np.where(rng.random(400) < 0.8, brand, "other")
    label = np.where(label == "", "none", label)
    ids = [f"p{i:03}" for i in range(400)]
    table = pd.DataFrame({"product_id": ids, "category_id": label, "brand": brand, "size": size})
    deliver("train", "x", "a.csv", table)
    asked = pd.DataFrame({"product_id": ["a", "b", "c"], "brand": ["iris", "unseen", ""], "size": [0.5, "", -0.5]})
    deliver("prediction", "x", "a.csv", asked)
    params = {"n_estimators": 12, "random_state": 1}
    client = Client(
        id="x",
        features={"brand": "category", "size": "numeric"},
        model="sklearn.ensemble.RandomForestClassifier",
        model_params=params,
    )
    train(job, client)
    predict(job, client)
    model = champion(job, "x").model
    assert isinstance(model, EmbeddedForest)
    training, _ = split(pd.factorize(label, sort=True)[0])
    learned = table[["brand", "size"]].iloc[training]
    columns = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["brand"]),
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["size"]),
    )
    oracle = make_pipeline(columns, RandomForestClassifier(**params)).fit(learned, label[training])
    known = model.predict_proba(learned)
    votes = model._forest.smoothing
    sums = params["n_estimators"] * oracle.predict_proba(learned) + votes / len(model.classes_)
    np.testing.assert_allclose(known, sums / (params["n_estimators"] + votes))
    assert votes > 0
    assert len(published_rows(prefix, "x")) == 3 * len(np.unique(label))
    assert log_loss(label[training], known, labels=model.classes_) < 0.5


def test_what_scikit_learn_refuses_is_told(job: JobContext, prefix: Path, sample: Path) -> None:
    """A member that cannot be fitted fails its client, by name; nothing is registered."""
    delivered(prefix, sample, "client_0")
    said = {"blend": [{"classifier": "sklearn.naive_bayes.MultinomialNB"}], "calibrate": "sigmoid"}
    with pytest.raises(ModelError, match=r"Negative values.*MultinomialNB, sigmoid"):
        train(job, make_client("client_0", model=said, model_params={}))
    assert job.registry.versions("client_0") == []
