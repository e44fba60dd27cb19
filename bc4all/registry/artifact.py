"""A version's files: MLflow's model folder as training writes it, and what its MLmodel file says.

Written by mlflow.pyfunc, for those who read models that way; read by `registry`, which checks every file first.
"""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from bc4all.config.clients import Client
from bc4all.config.settings import feature_kinds
from bc4all.config.yaml_source import read_yaml
from bc4all.errors import ConfigurationError, ModelError
from bc4all.identity import ClientId
from bc4all.kinds import Features
from bc4all.model.model_file import digest, save_model
from bc4all.model.ranking import Model
from bc4all.pyfunc import DIGESTS, FEATURES_FILE
from bc4all.registry.run import column_types

MLMODEL = "MLmodel"
STORED_FILE = "stored.json"
DESCRIPTION_FILE = "description.json"  # whose the version is, and its features: of thousands MLmodel is too large
JUDGED = "judged"  # the folder in it of the model that was evaluated, where it is another
DATA = "data/model"  # where mlflow.pyfunc.save_model copies the folder `model` to
# What it writes beside that folder; the artifact store's listing may show nothing else.
SAVED = (
    *(MLMODEL, "data", "conda.yaml", "python_env.yaml", "requirements.txt"),
    *("input_example.json", "serving_input_example.json"),
)
AGAIN = "train the client again"
# What a server that loads a version installs: it scores, and reads no files. bc4all is not among them: it is in no
# index, where anybody could publish a package of that name; an image for serving brings it.
_REQUIREMENTS = ("numpy", "pandas", "pyarrow", "scikit-learn", "numba", "skops")


def write_model(
    scratch: Path,
    client: Client,
    model: Model,
    example: pd.DataFrame,
    stored: Mapping[str, Any],
    judged: Model | None,
) -> dict[str, str]:
    """Write MLflow's model folder to `scratch/saved` and return the tags that identify it."""
    source = scratch / "model"
    source.mkdir()
    file, tags = save_model(model, source), {}
    if judged is not None and judged is not model:
        (source / JUDGED).mkdir()
        kept = save_model(judged, source / JUDGED)
        tags = {"judged_file": kept.name, "judged_sha256": digest(kept)}
    (source / FEATURES_FILE).write_text(json.dumps(client.features))
    (source / STORED_FILE).write_text(json.dumps(stored))
    (source / DESCRIPTION_FILE).write_text(json.dumps({"client_id": client.id, "features": client.features}))
    given: list[ColSpec | TensorSpec] = [ColSpec("string", "product_id", required=False)]
    given += [ColSpec(kind, name, required=False) for name, kind in column_types(client.features)]
    kinds = (("string", "product_id"), ("string", "pred_label"), ("float", "pred_score"), ("integer", "rank"))
    saved = scratch / "saved"
    digests = {file.relative_to(source).as_posix(): digest(file) for file in source.rglob("*") if file.is_file()}
    mlflow.pyfunc.save_model(
        str(saved),
        loader_module="bc4all.pyfunc",
        data_path=str(source),
        metadata={"client_id": str(client.id), "features": json.dumps(client.features), DIGESTS: json.dumps(digests)},
        signature=ModelSignature(Schema(given), Schema([ColSpec(kind, name) for kind, name in kinds])),
        input_example=example,
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in _REQUIREMENTS],
    )
    return tags | {
        "client_id": client.id,
        "model_file": file.name,
        "sha256": digest(saved / DATA / file.name),
        "mlmodel_sha256": digest(saved / MLMODEL),
        "stored_sha256": digest(saved / DATA / STORED_FILE),
        "description_sha256": digest(saved / DATA / DESCRIPTION_FILE),
        "bytes": str(file.stat().st_size),
    }


def described(description: Path, client_id: ClientId) -> Features:
    """Return the features of a version by its description. Raises ModelError where that is not this client's.

    Of a version that was registered before there were descriptions, that is its MLmodel file.
    """
    try:
        facts = _from_mlmodel(description) if description.name == MLMODEL else json.loads(description.read_text())
        owner = facts.get("client_id", client_id)
        features: Features = feature_kinds([{"name": name, "kind": kind} for name, kind in facts["features"].items()])
    except (ConfigurationError, AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError("the version has no readable signature", description.name, AGAIN) from error
    if owner != client_id:
        raise ModelError("the version's files are another client's", description.name, AGAIN)
    return features


def _from_mlmodel(file: Path) -> dict[str, Any]:
    """Return the owner and the features that an MLmodel file names."""
    document = read_yaml(file)
    document.raise_faults()
    facts = document.value.get("metadata") or {}
    return {**facts, "features": json.loads(facts["features"])}
