"""A real shop whose taxonomy changes, and one whose categories are paths."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from bc4all.config.fleet_file import load_fleet
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.registry.tracking import tracking_uri
from tests.conftest import published_rows
from tests.spark.test_text import made_up, shop

Deliver = Callable[..., Path]


def metrics(job: JobContext, client_id: str) -> dict[str, float]:
    """Of the client's last training."""
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name(f"ProductCategoriesClassification_{client_id}")
    assert experiment
    return dict(client.search_runs([experiment.experiment_id], max_results=1)[0].data.metrics)


def test_a_shops_categories_are_renamed(
    job: JobContext, prefix: Path, seed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From the map's date on the shop's products are trained, and published, under the new names; two become one."""
    client_id = "merchant_14"
    for kind in ("train", "prediction"):
        folder = seed.parent / "merchants" / kind / f"client_id={client_id}"
        shutil.copytree(folder, prefix / kind / folder.name)
    (labels,) = (pd.read_csv(file) for file in (prefix / "train" / f"client_id={client_id}").iterdir())
    first, second, *rest = sorted(labels["category_id"].unique())
    (tmp_path / "category_map").mkdir()
    renamed = [(first, "Renamed", "2026-01-31"), (second, "Renamed", "2026-01-31"), ("gone", "Nowhere", "")]
    table = pd.DataFrame([*renamed, (rest[0], "x", "2026-02-01")], columns=["old", "new", "from"])
    table.to_csv(tmp_path / "category_map" / f"{client_id}.csv", index=False)
    config = f"defaults: {{features: [{{name: product_title, kind: text}}]}}\nclients: {{{client_id}: }}\n"
    (tmp_path / "clients.yaml").write_text(config)
    (client,) = load_fleet(tmp_path / "clients.yaml").enabled
    with caplog.at_level(logging.WARNING, "bc4all.learning.training"):
        train(job, client)
    assert "1 old names of the category map are no product's any more: gone" in caplog.text
    predict(job, client)
    published = set(published_rows(prefix, client_id)["pred_label"])
    assert "Renamed" in published
    assert published <= {"Renamed", *rest}
    assert client.sha != client.model_copy(update={"category_map": None}).sha


def test_paths_are_judged_level_by_level(job: JobContext, deliver: Deliver) -> None:
    """A product in the wrong drawer of the right cupboard counts one level up."""
    data = made_up(400)
    half = data["product_id"].str[-1].isin(list("13579"))  # of which nothing in the features tells
    data["category_id"] = data["category_id"] + " > " + half.map({True: "odd", False: "even"})
    deliver("train", "x", "a.csv", data)
    features = {"title": "text", "brand": "category", "price": "numeric"}
    train(job, shop("x", features).model_copy(update={"category_separator": ">"}))
    found = metrics(job, "x")
    assert found["accuracy_level_1"] == 1.0
    assert found["accuracy"] < 0.8
    assert found["training_accuracy_level_1"] == 1.0
    assert "accuracy_level_2" not in found
    train(job, shop("x", features))
    assert "accuracy_level_1" not in metrics(job, "x")
