"""Nothing that was not registered for this client by this project is read, let alone run."""

import json
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from bc4all.jobs.predict_job import predict
from bc4all.model.model_file import SKOPS_FILE, digest
from bc4all.registry.tracking import tracking_uri
from tests.conftest import make_client, run_fleet
from tests.faults.conftest import Published, partition, rows_of

# Python that says that it was run, wherever it is put.
CODE = "open({proof!r}, 'w').close()\n"


class Touch:
    """Makes a file when unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def artifact(on: Published, name: str) -> Path:
    """A file of the client's only version."""
    (file,) = [path for path in (on.prefix / "mlartifacts").rglob("*") if str(path).endswith(name)]
    return file


def forge(on: Published, **tags: str) -> None:
    """Change the version's tags, as somebody could who may write to the registry."""
    for key, value in tags.items():
        MlflowClient(tracking_uri(on.layout)).set_model_version_tag("client_0_model", "1", key, value)


def forget(on: Published, tag: str) -> None:
    """Take a tag off the version."""
    MlflowClient(tracking_uri(on.layout)).delete_model_version_tag("client_0_model", "1", tag)


def plant_code(on: Published, proof: str) -> None:
    """A folder that MLflow would put on the path, and import from."""
    folder = artifact(on, "MLmodel").parent / "code" / "bc4all"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(CODE.format(proof=proof))
    (folder / "pyfunc.py").write_text(CODE.format(proof=proof))


def plant_a_loader(on: Published, proof: str) -> None:
    """A description that names another loader and a code folder, with the digest to match."""
    plant_code(on, proof)
    file = artifact(on, "MLmodel")
    described = yaml.safe_load(file.read_text())
    described["flavors"]["python_function"] |= {"loader_module": "planted", "code": "code"}
    file.write_text(yaml.safe_dump(described))
    (file.parent / "code" / "planted.py").write_text(CODE.format(proof=proof))
    forge(on, mlmodel_sha256=digest(file))


def trust_everything(on: Published, proof: str) -> None:
    """A skops file of types that it declares trusted itself, under the right name, with the right digest."""
    from skops import io

    file = artifact(on, "model/forest.npz").with_name(SKOPS_FILE)
    io.dump({"run": open, "path": Path(proof), "trusted": ["builtins.open", "pathlib.PosixPath"]}, file)
    (file.parent / "trusted.txt").write_text("builtins.open\npathlib.PosixPath\n")
    forge(on, model_file=SKOPS_FILE, sha256=digest(file), trusted="builtins.open")


def swap(on: Published, proof: str) -> None:
    """Other bytes in the model's place."""
    file = artifact(on, "model/forest.npz")
    file.write_bytes(file.read_bytes() + b" ")


def swap_the_description(on: Published, proof: str) -> None:
    """Other bytes in the description's place."""
    file = artifact(on, "MLmodel")
    file.write_bytes(file.read_bytes() + b" ")


def forge_the_digest(on: Published, proof: str) -> None:
    """Another digest on the version."""
    forge(on, sha256="0" * 64)


def pickle_a_forest(on: Published, proof: str) -> None:
    """A pickle with the right name and the right digest."""
    file = artifact(on, "model/forest.npz")
    file.write_bytes(pickle.dumps(Touch(proof)))
    forge(on, sha256=digest(file))


def pickle_a_skops_file(on: Published, proof: str) -> None:
    """A pickle under skops' name, with the right digest."""
    file = artifact(on, "model/forest.npz").with_name(SKOPS_FILE)
    file.write_bytes(pickle.dumps(Touch(proof)))
    forge(on, model_file=SKOPS_FILE, sha256=digest(file))


def lead_out(on: Published, proof: str) -> None:
    """A file name that leads out of the artifact."""
    forge(on, model_file="../../../../../../etc/passwd")


def belong_to_another(on: Published, proof: str) -> None:
    """Another client's version under this client's name."""
    forge(on, client_id="client_1")


def take_anothers_files(on: Published, proof: str) -> None:
    """Another client's files under this client's name, digests and all."""
    file = artifact(on, "model/description.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"client_id": "client_1"}))
    forge(on, description_sha256=digest(file))


def blow_up(on: Published, proof: str) -> None:
    """A description that is nested beyond all reason."""
    file = artifact(on, "model/description.json")
    file.write_text("[" * 100_000)
    forge(on, description_sha256=digest(file))


def take_anothers_old_files(on: Published, proof: str) -> None:
    """The same with a version of before descriptions, which MLmodel describes."""
    file = artifact(on, "MLmodel")
    described = yaml.safe_load(file.read_text())
    described["metadata"]["client_id"] = "client_1"
    file.write_text(yaml.safe_dump(described))
    forge(on, mlmodel_sha256=digest(file))
    forget(on, "description_sha256")


def blow_up_as_before(on: Published, proof: str) -> None:
    """An MLmodel file whose aliases, written out, would fill the memory."""
    file = artifact(on, "MLmodel")
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    file.write_text("\n".join(["a0: &a0 x", *levels]))
    forge(on, mlmodel_sha256=digest(file))
    forget(on, "description_sha256")


def point_nowhere(on: Published, proof: str) -> None:
    """A champion that is no version."""
    with sqlite3.connect(on.prefix / "mlflow.db") as registry:
        registry.execute("UPDATE registered_model_aliases SET version = 99")


def lose_the_files(on: Published, proof: str) -> None:
    """A champion whose files are gone."""
    shutil.rmtree(artifact(on, "MLmodel").parent)


def unregister(on: Published, proof: str) -> None:
    """No champion at all."""
    MlflowClient(tracking_uri(on.layout)).delete_registered_model_alias("client_0_model", "champion")


REFUSED: dict[Callable[[Published, str], None], str] = {
    plant_code: "its files hold code, which was not registered",
    plant_a_loader: "its files hold code, which was not registered",
    trust_everything: "the model file model.skops is refused: ",
    swap: "the model file forest.npz has the digest ",
    swap_the_description: "its MLmodel is not the one that was registered",
    forge_the_digest: "the model file forest.npz has the digest ",
    pickle_a_forest: "the forest file forest.npz is damaged",
    pickle_a_skops_file: "the model file model.skops is refused: ",
    lead_out: "the version was not registered by bc4all for this client",
    belong_to_another: "the version was not registered by bc4all for this client",
    take_anothers_files: "the version's files are another client's",
    blow_up: "the version has no readable signature",
    take_anothers_old_files: "the version's files are another client's",
    blow_up_as_before: "the version has no readable signature",
    point_nowhere: "client_0_model has no champion",
    lose_the_files: "client_0_model version 1 has no files",
    unregister: "client_0_model has no champion",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_version_is_refused(
    published: Published, spark: SparkSession, tmp_path: Path, spoil: Callable[[Published, str], None]
) -> None:
    """Exit code 1 and one line that says what is wrong; nothing of it runs, and what was published stays."""
    before, proof = rows_of(partition(published.prefix)), tmp_path / "proof"
    spoil(published, str(proof))
    (outcome,) = run_fleet(spark, "predict", [make_client("client_0")], partial(predict, published.job(spark)), 1)
    assert outcome.exit_code == 1, outcome.error
    assert outcome.error
    assert outcome.error.startswith(f"client_0: predict failed: {REFUSED[spoil]}")
    assert "train the client" in outcome.error
    assert "\n" not in outcome.error
    assert not proof.exists()
    assert rows_of(partition(published.prefix)).equals(before)  # type: ignore[union-attr]
