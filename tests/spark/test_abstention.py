"""A client whose model knows when not to answer."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from bc4all.cli.main import main
from bc4all.config.settings import AbstainSettings
from bc4all.errors import ModelError
from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import _thresholds, predict
from bc4all.jobs.train_job import train
from bc4all.model.abstention import curves
from bc4all.registry.tracking import tracking_uri
from bc4all.registry.versions import CURVES, LoadedModel, Version
from tests.conftest import FEATURES, make_client, published_rows
from tests.faults.conftest import partition


@pytest.mark.starts_from("published_sample")
def test_abstains_below_the_precision_asked_for(job: JobContext, prefix: Path) -> None:
    """Each product is answered or not, equally in its five rows; the manifest says how many, the run from where on."""
    assert "answered" not in published_rows(prefix, "client_0")
    for per_category in (False, True):
        settings = AbstainSettings(precision=0.5, per_category=per_category)
        predict(job, make_client("client_0", abstain=settings))
        rows = published_rows(prefix, "client_0")
        assert (rows.groupby("product_id")["answered"].nunique() == 1).all()
        best = rows[rows["rank"] == 0]
        assert 0.1 < best["answered"].mean() < 0.9
        manifest = json.loads((partition(prefix, "client_0") / "_manifest.json").read_text())
        assert (manifest["answered"], manifest["coverage"]) == (best["answered"].sum(), best["answered"].mean())
        shown = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["show", "--client-id", "client_0", "--limit", "30"])
        assert shown.output.count(" yes ") == best["answered"].head(30).sum()
        if not per_category:
            threshold = best.loc[best["answered"], "pred_score"].min()
            assert threshold > best.loc[~best["answered"], "pred_score"].max()
            table = coverage_table(job)
            held_out = table[table["threshold"] <= threshold + 1e-6].iloc[0]
            assert held_out["accuracy"] >= 0.5
            assert held_out["coverage"] == pytest.approx(best["answered"].mean(), abs=0.1)


def coverage_table(job: JobContext) -> pd.DataFrame:
    """What the training wrote of its version."""
    client = MlflowClient(tracking_uri(job.layout), tracking_uri(job.layout))
    run_id = client.get_model_version_by_alias("client_0_model", "champion").run_id
    return pd.read_csv(client.download_artifacts(run_id, "coverage.csv"))


def test_where_nothing_is_answered_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Forty held-out products tell 0.9 and not 0.99: the client is named, and what to do."""
    score = np.linspace(0.5, 0.9, 40)
    answers = pd.DataFrame({"predicted": pd.Categorical(["a"] * 40), "score": score, "correct": True})
    version = Version("x_model", 1, "", {})
    loaded = LoadedModel(version, None, {}, {CURVES: curves(answers)})  # type: ignore[arg-type]
    for precision, warnings in ((0.9, 0), (0.99, 1)):
        caplog.clear()
        with caplog.at_level("WARNING"):
            _thresholds(make_client("x", abstain=AbstainSettings(precision=precision)), loaded)
        assert len(caplog.messages) == warnings
    assert caplog.messages[0].startswith("x: abstain: 0.99: from no score on")
    assert caplog.messages[0].endswith("none is answered; ask for less")


def test_a_version_that_cannot_tell_says_so(job: JobContext, deliver: object, sample: Path, prefix: Path) -> None:
    """A model of so few products that none were held out cannot be asked when it is right."""
    frame = pd.read_csv(sample / "train" / "client_id=client_0" / "data_train.csv.gz", dtype={"product_id": str})
    few = frame.groupby("category_id").head(1).head(5)
    deliver("train", "x", "a.csv", few)  # type: ignore[operator]
    deliver("prediction", "x", "a.csv", few.drop(columns="category_id"))  # type: ignore[operator]
    client = make_client("x", features=FEATURES, abstain=AbstainSettings(precision=0.8))
    train(job, client)
    with pytest.raises(ModelError, match=r"it is not known how often it is right .*x_model version 1.*train"):
        predict(job, client)
