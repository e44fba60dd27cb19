"""A real client whose products change: what MLflow, the table and `bc4all status` then say."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bc4all.data.drift import PREDICTED, bin_counter, compare
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from bc4all.model.distribution import profile
from bc4all.model.features import model_input
from bc4all.registry.tracking import tracking_uri
from tests.conftest import deliver_some, make_client

KINDS = {"title": "text", "brand": "category", "price": "numeric"}


def frame(rows: int, brand: str = "acme") -> pd.DataFrame:
    """Products of two brands and some prices."""
    return pd.DataFrame(
        {
            "title": ["x" * (i % 7 + 1) for i in range(rows)],
            "brand": ["none" if i % 5 == 0 else brand for i in range(rows)],
            "price": [None if i % 10 == 0 else float(i % 50) for i in range(rows)],
        }
    )


def test_what_tasks_count_is_what_training_counted() -> None:
    """The same products have no drift, however they were cut into packs; other brands are seen, and named."""
    data = frame(1000)
    stored = profile(model_input(data, KINDS), KINDS, ["a"] * 700 + ["b"] * 300)
    counter = bin_counter(stored, KINDS)

    def counted(products: pd.DataFrame) -> list[tuple[str, str, bool, int]]:
        bins: Counter[tuple[str, str, bool]] = Counter()
        for start in range(0, 1000, 300):
            for name, value, is_new, count in counter(products[start : start + 300]):
                bins[name, value, is_new] += count
        return [(*key, count) for key, count in bins.items()]

    same = compare(stored, counted(data), counter, {"a": 70, "b": 30})
    assert same.psi == pytest.approx(dict.fromkeys([*KINDS, PREDICTED], 0), abs=1e-9)
    other = compare(stored, counted(frame(1000, "frost")), counter, {"a": 30, "b": 70})
    assert other.above(0.2)[0].startswith("brand ")
    assert (other.new["brand"], other.vanished["brand"]) == (["frost"], ["acme"])
    assert other.psi[PREDICTED] > 0.2
    assert other.psi["price"] < 1e-9


def runs(job: JobContext) -> list[Run]:
    """The client's predictions, the latest first."""
    client = MlflowClient(tracking_uri(job.layout))
    experiment = client.get_experiment_by_name("ProductCategoriesPrediction_client_0")
    assert experiment
    return list(client.search_runs([experiment.experiment_id]))


def test_a_real_client_that_drifts_is_marked_when_it_lasts(job: JobContext, prefix: Path, seed: Path) -> None:
    """Its own products do not drift; shifted ones are measured at once, and told after two of three predictions."""
    deliver_some(seed, prefix, "client_0", 3000)
    client = make_client("client_0")
    train(job, client)
    calm = predict(job, client)
    assert (calm.note, calm.drifted) == ("", False)
    assert runs(job)[0].data.metrics["psi_max"] < 0.2
    (file,) = (prefix / "prediction" / "client_id=client_0").iterdir()
    products = pd.read_csv(file, dtype={"product_id": str})
    products.assign(f0=products["f0"] + 2 * products["f0"].std()).to_csv(file, index=False)
    first = predict(replace(job, day="2026-02-01"), client)
    assert first.note == ""
    assert runs(job)[0].data.metrics["psi.f0"] > 1
    second = predict(replace(job, day="2026-02-02"), client)
    assert second.drifted
    assert second.note.startswith("drift in 2 of 3 predictions, PSI: f0 ")
    assert runs(job)[0].data.tags["drift"].startswith("f0 ")
    assert predict(replace(job, day="2026-02-02"), client).note == second.note
    train(job, client)  # of whose successor nothing is known yet
    assert predict(replace(job, day="2026-02-03"), client).note == ""
    products.to_csv(file, index=False)
    assert predict(replace(job, day="2026-02-04"), client).note == ""
