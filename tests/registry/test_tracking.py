"""Experiments and runs in a SQLite file of MLflow's."""

import shutil
from pathlib import Path

import pytest

from bc4all.errors import Failure, ModelError, Untrained
from bc4all.identity import ClientId, Day, RunId
from bc4all.job_kinds import PREDICT, TRAIN
from bc4all.layout import Layout
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.registry.versions import Registry
from tests.conftest import DAY, make_client


@pytest.fixture
def tracking(tmp_path: Path, empty_mlflow: Path) -> Tracking:
    """An MLflow without experiments, below a prefix of its own."""
    shutil.copy(empty_mlflow, tmp_path)
    layout = Layout.at(str(tmp_path))
    return Tracking(tracking_uri(layout), layout)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_deleted_experiment_is_named_and_how_to_restore_it(tracking: Tracking, is_known: bool) -> None:
    """What was deleted in MLflow's pages fails its own client's job alone, for good, until the told command is run."""
    client, other = make_client("client_0"), make_client("client_1")
    deleted = tracking.start_run(client, TRAIN, DAY, {}).experiment_id
    tracking.start_run(other, TRAIN, DAY, {})
    tracking.client.delete_experiment(deleted)
    if is_known:
        tracking.check_owner([client.id, other.id])
    words = rf"Classification_client_0 was deleted \(.*mlflow experiments restore --experiment-id {deleted}\)"
    with pytest.raises(Failure, match=words) as told:
        tracking.start_run(client, TRAIN, DAY, {})
    assert told.value.exit_code == 1
    for sound in ((other, TRAIN), (client, PREDICT)):
        tracking.start_run(*sound, DAY, {})
    tracking.client.restore_experiment(deleted)
    assert tracking.start_run(client, TRAIN, DAY, {}).experiment_id == deleted


def test_a_date_that_was_predicted_often_is_one_date(tracking: Tracking) -> None:
    """One value a date, of its latest run, however many runs lie between two dates."""
    client = make_client("client_0")
    for day, count in (("2026-01-01", 1), ("2026-01-02", 60), ("2026-01-03", 2)):
        for number in range(count):
            run = tracking.start_run(client, PREDICT, Day(day), {"model_version": "1"})
            run.log({"psi_max": int(day[-2:]) + number / 100})
    assert tracking.recent(client, PREDICT, "psi_max", 1, 3) == [3.01, 2.59, 1.0]


def test_a_client_without_any_version_is_told_from_one_without_a_champion(tracking: Tracking) -> None:
    """The first is to be trained; of the second, people have decided that nothing it has is to be used."""
    registry = Registry(tracking)
    with pytest.raises(Untrained, match="client_0_model has no champion"):
        registry.find(ClientId("client_0"))
    tracking.client.create_registered_model("client_0_model")
    with pytest.raises(Untrained):
        registry.find(ClientId("client_0"))
    tracking.client.create_model_version("client_0_model", "file:///nowhere")
    with pytest.raises(ModelError, match="client_0_model has no champion") as told:
        registry.find(ClientId("client_0"))
    assert not isinstance(told.value, Untrained)


def test_a_runs_files_are_those_that_it_has(tracking: Tracking, tmp_path: Path) -> None:
    """By their names, whatever else the run holds; a run that is not there is an error."""
    experiment = tracking.client.create_experiment("files")
    run_id = RunId(tracking.client.create_run(experiment).info.run_id)
    (tmp_path / "a.csv").write_bytes(b"a,b\n")
    (tmp_path / "other.csv").write_bytes(b"c\n")
    tracking.client.log_artifacts(run_id, str(tmp_path))
    assert tracking.run_files(run_id, ["a.csv", "missing.csv"]) == {"a.csv": b"a,b\n"}
    with pytest.raises(ModelError, match="there is no run"):
        tracking.run_files(RunId("0" * 32), ["a.csv"])
