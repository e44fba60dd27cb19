"""A client with titles: both jobs held against plain scikit-learn, on a real shop and on made-up products."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from click.testing import CliRunner
from pyspark.sql import SparkSession
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split

from bc4all.cli.main import main
from bc4all.config.clients import Client
from bc4all.config.model_defaults import LINEAR_MODEL, TEXT_MODEL
from bc4all.errors import DataError
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.learning.folds import folds
from bc4all.model.blend import Blend
from bc4all.model.held_out import split
from bc4all.model.model_file import SKOPS_FILE, TRUSTED_TYPES
from bc4all.model.preprocessing import with_preprocessing
from bc4all.registry.tracking import tracking_uri
from tests.conftest import jobs_on, make_client, published_rows, write_file

Deliver = Callable[..., Path]
TITLE = {"product_title": "text"}
WIDE = {"COLUMNS": "250"}  # so that no cell is folded


@pytest.fixture(scope="session")
def merchants(seed: Path) -> Path:
    """The 39 real shops, beside the ten clients."""
    return seed.parent / "merchants"


def shop(client_id: str, features: dict[str, str] = TITLE) -> Client:
    """A client with the model that a client with text has by default."""
    return make_client(client_id, features=features, model=TEXT_MODEL, model_params={})


def plain() -> Any:
    """The default model as scikit-learn's own parts, not calibrated."""
    return with_preprocessing(RidgeClassifier(alpha=0.2, class_weight="balanced"), TITLE)


def test_products_whose_label_is_wrong_are_shown(job: JobContext, prefix: Path, merchants: Path) -> None:
    """Ten of a real shop's labels are wrong: the command shows most of them, with their titles, and gives a CSV."""
    shutil.copytree(merchants / "train" / "client_id=merchant_14", prefix / "train" / "client_id=merchant_14")
    file = next((prefix / "train" / "client_id=merchant_14").glob("*.gz"))
    data = pd.read_csv(file, dtype=str, keep_default_na=False)
    rng = np.random.default_rng(3)
    wrong = rng.choice(len(data), 10, replace=False)
    categories = data["category_id"].unique()
    truth = data.loc[wrong, "category_id"]
    data.loc[wrong, "category_id"] = [rng.choice(categories[categories != name]) for name in truth]
    data.to_csv(file, index=False)
    train(job, shop("merchant_14"))
    shown = CliRunner().invoke(main, ["suspects", "--client-id", "merchant_14", "--csv"])
    assert shown.exit_code == 0, shown.output
    suspects = pd.read_csv(StringIO(shown.stdout), dtype=str, keep_default_na=False).set_index("product_id")
    planted = data.loc[wrong].assign(truth=truth).set_index("product_id")
    found = planted.join(suspects, how="inner", rsuffix="_shown")
    assert len(found) >= 6
    assert (found["suggested"] == found["truth"]).mean() > 0.8
    assert (found["title"] == found["product_title"]).all()
    assert set(suspects["similar"]) <= set(data["product_title"])
    table = CliRunner().invoke(main, ["suspects", "--client-id", "merchant_14", "--rows", "3"], env=WIDE).stdout
    assert table.startswith(f"merchant_14 version 1: {len(suspects)} suspects among the ")
    assert ", the surest 3" in table.splitlines()[0]
    assert suspects.index[0] in table
    assert suspects.index[3] not in table


def test_a_real_shop_equals_plain_scikit_learn(job: JobContext, prefix: Path, merchants: Path) -> None:
    """A shop's categories are those of the same Pipeline fitted on all products, its figures those without a tenth."""
    for kind in ("train", "prediction"):
        shutil.copytree(merchants / kind / "client_id=merchant_14", prefix / kind / "client_id=merchant_14")
    client = shop("merchant_14")
    trained = train(job, client)
    predict(job, client)
    data, products = (
        pd.read_csv(next((prefix / kind / "client_id=merchant_14").glob("*.gz")), dtype=str, keep_default_na=False)
        for kind in ("train", "prediction")
    )
    X_train, X_test, y_train, y_test = train_test_split(
        data[["product_title"]], data["category_id"].to_numpy(object), test_size=0.1, random_state=1234
    )
    X, y = data[["product_title"]], data["category_id"].to_numpy(object)
    model = plain().fit(X, y)
    training, _ = split(np.unique(y, return_inverse=True)[1])
    fold = folds(np.unique(y[training], return_inverse=True)[1])
    parts = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(3)]
    calibrated = CalibratedClassifierCV(plain(), method="temperature", ensemble=False, cv=parts)
    calibrated.fit(X.iloc[training], y[training])
    (beta,) = [one.calibrators[0].beta_ for one in calibrated.calibrated_classifiers_]
    probabilities = softmax(beta * model.decision_function(products[["product_title"]]), axis=1)
    rows = published_rows(prefix, "merchant_14")
    best = rows[rows["rank"] == 0].set_index("product_id").loc[products["product_id"]]
    assert best["pred_label"].tolist() == model.classes_[probabilities.argmax(axis=1)].tolist()
    np.testing.assert_allclose(best["pred_score"], probabilities.max(axis=1), rtol=1e-4)
    judged = plain().fit(X_train, y_train)
    top_five = model.classes_[np.argsort(-judged.decision_function(X_test), axis=1)[:, :5]]
    assert trained.top_5 == pytest.approx((top_five == y_test[:, None]).any(axis=1).mean())
    assert len(rows) == len(products) * min(5, len(model.classes_))


def made_up(rows: int) -> pd.DataFrame:
    """Products whose title, brand and price each tell something of their category."""
    rng = np.random.default_rng(rows)
    kinds = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "product_id": [f"p{i:04}" for i in range(rows)],
            "category_id": np.array(["phones", "fridges", "cameras"])[kinds],
            "title": [f"{['mobile', 'cool box', 'lens'][kind]} {rng.integers(1000)}" for kind in kinds],
            "brand": [["acme", "frost", "iris"][kind] if rng.random() < 0.8 else "" for kind in kinds],
            "price": np.where(rng.random(rows) < 0.1, np.nan, 100 * kinds + rng.normal(0, 10, rows)),
        }
    )


KINDS = {"title": "text", "brand": "category", "price": "numeric"}


@pytest.fixture(scope="module")
def trained_shop(spark: SparkSession, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix whose client x has learned from some products of every kind. Tests that start from it have a copy."""
    folder = tmp_path_factory.mktemp("trained shop")
    shutil.copy(empty_mlflow, folder)
    write_file(folder, "train", "x", "a.csv", made_up(60))
    train(jobs_on(spark, folder), shop("x", KINDS))
    return folder


def test_every_kind_goes_through_both_jobs(job: JobContext, prefix: Path, deliver: Deliver) -> None:
    """Titles, brands and prices together; what is missing, empty or unseen is scored, and nothing is refused."""
    data = made_up(300)
    deliver("train", "x", "a.csv.gz", data)
    odd = pd.DataFrame(
        {
            "product_id": ["a", "b", "c", "d", "e"],
            "title": ["", "two\nlines", 'a "quoted" mobile', "\U0001f600 lens", "zzz"],
            "brand": ["", "unseen", "acme", "", "iris"],
            "price": ["", "1", "", "1e30", "200"],
        }
    )
    deliver("prediction", "x", "a.csv", odd)
    client = shop("x", KINDS)
    assert train(job, client).top_5 == 1.0
    assert predict(job, client).quarantined == 0
    rows = published_rows(prefix, "x")
    assert rows["product_id"].unique().tolist() == ["a", "b", "c", "d", "e"]
    best = rows[rows["rank"] == 0].set_index("product_id")["pred_label"]
    assert (best["c"], best["e"]) == ("phones", "cameras")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(None, marks=pytest.mark.starts_from("trained_shop"), id="ridge"),
        pytest.param(LINEAR_MODEL, id="logistic"),
    ],
)
def test_registered_coefficients_are_float32(
    job: JobContext, prefix: Path, deliver: Deliver, model: str | None
) -> None:
    """In the file, and in what a worker scores with; the intercepts, of which there are few, stay as they are."""
    if model:
        deliver("train", "x", "a.csv", made_up(60))
        train(job, make_client("x", features=KINDS, model=model, model_params={}))
    files = list(prefix.rglob(SKOPS_FILE))
    assert files
    for file in files:
        stored = skops.io.load(file, trusted=list(TRUSTED_TYPES))
        pipeline = stored.members[0] if isinstance(stored, Blend) else stored
        classifier = pipeline.named_steps["classifier"]
        classifier = getattr(classifier, "classifier_", classifier)
        assert classifier.coef_.dtype == np.float32
        assert classifier.intercept_.dtype == np.float64
    (text,) = job.registry.load("x", job.registry.find("x")).model.vocabularies
    assert text.weights.dtype == np.float32


@pytest.mark.parametrize("categories", [["a", "b"], ["a", "a", "b"], ["a", "b", "b", "b", "b", "b", "c"]], ids=" ".join)
def test_a_handful_of_titles_is_enough(job: JobContext, prefix: Path, deliver: Deliver, categories: list[str]) -> None:
    """One product of each category, or of some, or fewer than there are folds: a model that answers."""
    ids = [f"p{number}" for number in range(len(categories))]
    titles = [f"{category * 4} {number}" for number, category in enumerate(categories)]
    deliver("train", "x", "a.csv", pd.DataFrame({"product_id": ids, "category_id": categories, "title": titles}))
    deliver("prediction", "x", "a.csv", pd.DataFrame({"product_id": ids, "title": titles}))
    client = shop("x", {"title": "text"})
    train(job, client)
    predict(job, client)
    rows = published_rows(prefix, "x")
    best = rows[rows["rank"] == 0].set_index("product_id")["pred_label"]
    assert best.loc[ids].tolist() == categories
    assert np.isfinite(rows["pred_score"]).all()


@pytest.mark.starts_from("trained_shop")
def test_a_column_that_is_gone_is_named(job: JobContext, deliver: Deliver) -> None:
    """Products without the brand that the model has learned from fail, and say so."""
    deliver("prediction", "x", "a.csv", made_up(60).drop(columns=["category_id", "brand"]))
    with pytest.raises(DataError, match="column brand is missing, on which x_model version 1 was trained"):
        predict(job, shop("x", KINDS))


@pytest.mark.starts_from("trained_shop")
def test_mlflows_own_loader_takes_titles(job: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads the version by MLflow asks it with the same columns, by name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(job.layout))
    model = mlflow.pyfunc.load_model("models:/x_model@champion")
    asked = pd.DataFrame({"product_id": ["1"], "title": ["mobile 7"], "brand": ["acme"], "price": [3.0]})
    answers = model.predict(asked)
    assert answers["pred_label"].tolist()[0] == "phones"
    assert answers["rank"].tolist() == [0, 1, 2]
