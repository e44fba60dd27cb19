"""A prediction of what was predicted before: published again without scoring, and only then."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run

from bc4all.config.clients import Client
from bc4all.config.settings import AbstainSettings
from bc4all.data.published import read_published
from bc4all.identity import Day
from bc4all.jobs import predict_job
from bc4all.jobs.context import JobContext
from bc4all.jobs.fleet import Outcome, run_waves
from bc4all.jobs.predict_job import predict_wave
from bc4all.jobs.train_job import train
from tests.conftest import DAY, make_client
from tests.faults.conftest import rows_of
from tests.spark.test_waves import frame_of

Deliver = Callable[..., Path]
NEXT = Day("2026-02-01")


@pytest.fixture
def client(job: JobContext, deliver: Deliver) -> Client:
    """A client that abstains, has a row refused, and is published for DAY."""
    one = make_client("x", features=("f0", "f1"), abstain=AbstainSettings(precision=0.5), max_quarantine=0.5)
    data = frame_of(200, 0, ["f0", "f1"])
    deliver("train", "x", "a.csv", data)
    deliver("prediction", "x", "a.csv", data.drop(columns="category_id"))
    deliver("prediction", "x", "b.csv", "product_id,f0,f1\nbad,x,1\n")
    train(job, one)
    assert predicted(job, one).error is None
    return one


def predicted(job: JobContext, client: Client, **options: Any) -> Outcome:
    """What becomes of a client."""
    work = partial(predict_wave, job, **options)
    (outcome,) = run_waves(job.spark, "predict", [[client]], work, 1)
    return outcome


def folder_of(prefix: Path, day: str, root: str = "products_categories") -> Path:
    """Where a date is published."""
    return prefix / root / "client_id=x" / f"date={day}"


def manifest_of(prefix: Path, day: str, root: str = "products_categories") -> dict[str, Any]:
    """What a published date says of itself."""
    told: dict[str, Any] = json.loads((folder_of(prefix, day, root) / "_manifest.json").read_text())
    return told


def runs_of(job: JobContext) -> list[Run]:
    """The client's predictions in MLflow, the latest first."""
    (experiment,) = [
        one.experiment_id
        for one in job.registry.tracking.experiments([make_client("x").id])
        if one.name.startswith("ProductCategoriesPrediction")
    ]
    return list(job.registry.tracking.client.search_runs([experiment]))


def test_what_has_not_changed_is_published_again(
    job: JobContext, prefix: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products, refused rows, manifest and MLflow's run are those of before, under the new date; nothing is scored.

    So it is on the next date, and on the same one again.
    """
    monkeypatch.setattr(predict_job, "read_wave", None)
    tomorrow = replace(job, day=NEXT)
    first = runs_of(job)[0]
    for day, context in ((NEXT, tomorrow), (NEXT, tomorrow)):
        outcome = predicted(context, client)
        assert (outcome.error, outcome.rows, outcome.quarantined, outcome.version) == (None, 200, 1, 1)
        for root in ("products_categories", "quarantine/prediction"):
            before, after = (rows_of(folder_of(prefix, one, root)) for one in (DAY, day))
            assert before is not None
            pd.testing.assert_frame_equal(before, after)
            told, tells = manifest_of(prefix, DAY, root), manifest_of(prefix, day, root)
            assert tells.pop("date") == day
            assert tells.pop("published_before") in (DAY, NEXT)
            assert tells.pop("run_id") == outcome.run_id
            assert tells == {name: value for name, value in told.items() if name not in ("date", "run_id")}
        run = runs_of(job)[0]
        assert run.info.run_id == outcome.run_id
        assert run.info.status == "FINISHED"
        assert run.data.metrics == first.data.metrics
        assert run.data.tags["published_before"] in (DAY, NEXT)
    assert not list((prefix / "_staging").glob("*"))


def test_a_past_date_that_is_filled_in_says_so(job: JobContext, prefix: Path, client: Client) -> None:
    """Its manifest and its run tell; it has no drift, and is neither the latest nor what a next one is held against."""
    late = replace(job, day=Day("2026-03-01"), backfilled=True)  # newer than all that is published on time
    for options in ({}, {"force": True}):  # published again, and scored
        assert predicted(late, client, **options).error is None
        assert "drift" not in manifest_of(prefix, "2026-03-01")
    told = manifest_of(prefix, "2026-03-01")
    assert (told["backfilled"], manifest_of(prefix, DAY)["backfilled"]) == (True, False)
    run = runs_of(job)[0]
    assert run.data.tags["backfilled"] == "true"
    assert "psi_max" not in run.data.metrics
    assert read_published(job.layout, client.id, None, [], 1).day == DAY
    assert predicted(replace(job, day=NEXT), client).error is None
    again = manifest_of(prefix, NEXT)
    assert (again["published_before"], again["backfilled"], "drift" in again) == (DAY, False, True)


def touched(prefix: Path) -> None:
    """A delivered file is written again, with the same bytes."""
    os.utime(prefix / "prediction" / "client_id=x" / "a.csv", (1, 1))


def one_more(prefix: Path) -> None:
    """There is a further file."""
    (prefix / "prediction" / "client_id=x" / "c.csv").write_text("product_id,f0,f1\nnew,1,1\n")


def shorter(prefix: Path) -> None:
    """A published file was cut."""
    (file,) = folder_of(prefix, DAY).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])


def damaged(prefix: Path) -> None:
    """A published file is none any more, in the same size."""
    (file,) = folder_of(prefix, DAY).glob("*.parquet")
    file.write_bytes(bytes(file.stat().st_size))


def without_refused(prefix: Path) -> None:
    """What was refused has gone."""
    shutil.rmtree(folder_of(prefix, DAY, "quarantine/prediction"))


def without_manifest(prefix: Path) -> None:
    """The manifest is no JSON any more."""
    (folder_of(prefix, DAY) / "_manifest.json").write_text("{")


@pytest.mark.parametrize("change", [touched, one_more, shorter, damaged, without_refused, without_manifest])
def test_whatever_has_changed_is_scored(
    job: JobContext, prefix: Path, client: Client, change: Callable[[Path], None]
) -> None:
    """Files that were delivered, and what was published of them."""
    before = rows_of(folder_of(prefix, DAY))
    change(prefix)
    outcome = predicted(replace(job, day=NEXT), client)
    assert outcome.error is None
    assert "published_before" not in manifest_of(prefix, NEXT)
    after = rows_of(folder_of(prefix, NEXT))
    assert before is not None
    assert after is not None
    assert len(after) == len(before) + 4 * (change is one_more)


def test_another_model_or_configuration_is_scored(job: JobContext, prefix: Path, client: Client) -> None:
    """So is what a person wants scored."""
    tomorrow = replace(job, day=NEXT)
    for options, one in (
        ({"force": True}, client),
        ({}, client.model_copy(update={"abstain": AbstainSettings(precision=0.9)})),
    ):
        assert predicted(tomorrow, one, **options).error is None
        assert "published_before" not in manifest_of(prefix, NEXT)
    train(job, client)
    assert predicted(tomorrow, client).version == 2
    assert "published_before" not in manifest_of(prefix, NEXT)
    assert predicted(tomorrow, client).version == 2
    assert manifest_of(prefix, NEXT)["published_before"] == NEXT
