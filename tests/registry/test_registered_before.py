"""A version that release 0.1 registered still loads, checked by its digests, and answers as it did."""

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import mlflow
import pandas as pd
import pytest

from bc4all.errors import ModelError
from bc4all.model.model_file import digest, load_model
from bc4all.model.ranking import score_frame
from bc4all.registry.artifact import DATA, MLMODEL, described

VERSIONS = Path(__file__).parent / "registered_0_1"


@pytest.mark.parametrize("name", ["titles", "forest_blend", "forest"])
def test_answers_as_it_did(name: str, tmp_path: Path) -> None:
    """By the registry's way and by MLflow's own loader: the same labels in the same order, and the same scores."""
    folder, saved = VERSIONS / name, tmp_path / "saved"
    shutil.copytree(folder / "saved", saved)
    tags = json.loads((folder / "tags.json").read_text())
    products, answers = (pd.read_csv(folder / f"{file}.csv") for file in ("products", "answers"))
    assert digest(saved / MLMODEL) == tags["mlmodel_sha256"]
    features = described(saved / MLMODEL, "x")
    model = load_model(saved / DATA / tags["model_file"], tags["sha256"])
    scored = score_frame(model, products, features, 1).drop(columns="model_version")
    pd.testing.assert_frame_equal(scored, answers, check_dtype=False, rtol=1e-6)
    loaded = mlflow.pyfunc.load_model(str(saved)).predict(products)
    pd.testing.assert_frame_equal(loaded, answers, check_dtype=False, rtol=1e-6)


def test_a_class_of_a_later_release_is_named(tmp_path: Path) -> None:
    """A version that a newer release registered is refused in words, before anything of it is read."""
    before, after = VERSIONS / "titles" / "saved" / DATA / "model.skops", tmp_path / "model.skops"
    with ZipFile(before) as old, ZipFile(after, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member, content.replace(b'"bc4all.margins"', b'"bc4all.model.cosines"'))
    with pytest.raises(ModelError, match=r"needs bc4all\.model\.cosines, which this release does not have \(use the"):
        load_model(after, digest(after))
