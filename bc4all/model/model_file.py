"""A model as one file: compact arrays for forests, skops for every other classifier. Never a pickle.

The digest of the file is checked before anything in it is looked at, and what it may hold is a list in this module,
not in the file.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile, ZipFile

from bc4all.errors import ModelError
from bc4all.model.forest import CompactForest
from bc4all.model.forest_file import load_forest, save_forest
from bc4all.model.linear_text import compiled
from bc4all.model.ranking import Model

FOREST_FILE = "forest.npz"
SKOPS_FILE = "model.skops"

# What scikit-learn's classifiers are made of beyond what skops trusts by itself. A Tree's node indices are not checked
# by scikit-learn, which is why the digest must match first.
TRUSTED_TYPES = (
    "bc4all.model.blend.Blend",
    "bc4all.model.blend.EmbeddedForest",  # checks itself as it is read
    "bc4all.model.calibration.GivenProbabilities",
    "bc4all.model.margins.MarginClassifier",
    "bc4all.model.text.JoinedVectorizer",
    "bc4all.model.text.TextVectorizer",  # of before there was the other
    "bc4all.model.text.TitleVectorizer",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
# Those among them whose compiled code follows the indices that it finds in a file, wherever they lead.
_UNCHECKED_TYPES = {
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
}

# Where classes were that files of releases before name by their modules.
_MOVED_MODULES = {
    "bc4all.blend": "bc4all.model.blend",
    "bc4all.calibration": "bc4all.model.calibration",
    "bc4all.margins": "bc4all.model.margins",
    "bc4all.text": "bc4all.model.text",
}
# What zipfile, json and skops raise for content that is not theirs.
_DAMAGE = (BadZipFile, TypeError, KeyError, ValueError, OSError, RecursionError)
_SCHEMA = "schema.json"  # the member of a skops file that names classes


def save_model(model: Model, folder: Path) -> Path:
    """Write `model` into `folder` and return the file.

    Raises ModelError where a classifier holds something that `load_model` would refuse.
    """
    if isinstance(model, CompactForest):
        file = folder / FOREST_FILE
        save_forest(model, file)
        return file
    from skops import io

    file = folder / SKOPS_FILE
    io.dump(model, file)
    strange = sorted(set(io.get_untrusted_types(file=file)) - set(TRUSTED_TYPES))
    if strange:
        file.unlink()
        raise ModelError(f"{type(model).__name__} holds {', '.join(strange)}", remedy="choose another `model`")
    return file


def check_digest(file: Path, sha256: str) -> None:
    """Raise ModelError unless the file has that digest."""
    found = digest(file) if file.is_file() else "none"
    if found != sha256:
        raise ModelError(
            f"the model file {file.name} has the digest {found[:12]}… where {sha256[:12]}… was registered",
            remedy="train the client again, and find out who changed the file",
        )


def load_model(file: Path, sha256: str) -> Model:
    """Load the model in `file`. Raise ModelError unless it has that digest and holds nothing but what is trusted."""
    check_digest(file, sha256)
    return read_model(file)


def read_model(file: Path, is_checked: bool = True) -> Model:
    """Read the model in `file`. Raise ModelError where it holds what is not trusted.

    `is_checked`: whether the file's digest was compared; if not, types that trust what they read are refused, too.
    """
    trusted = [name for name in TRUSTED_TYPES if is_checked or name not in _UNCHECKED_TYPES]
    if file.name == FOREST_FILE:
        return load_forest(file)
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        model = io.load(_with_moved_modules(file), trusted=trusted)
    except (
        UntrustedTypesFoundException,
        BadZipFile,
        TypeError,
        KeyError,
        ValueError,
        OSError,
        RecursionError,
    ) as error:
        reason = str(error).partition("\n")[0]  # skops goes on to tell how to trust it all the same
        raise ModelError(f"the model file {file.name} is refused: {reason}", remedy="train the client again") from error
    if not hasattr(model, "predict_proba"):
        raise ModelError(f"the model file {file.name} holds no classifier", remedy="train the client again")
    if getattr(model, "n_jobs", None) not in (None, 1):
        model.set_params(n_jobs=1)  # Spark's tasks share the cores already
    return cast(Model, compiled(model))


def _with_moved_modules(file: Path) -> Path | BytesIO:
    """Return a skops file whose classes are named by today's modules: itself, or a copy in memory.

    Raise ModelError where a later release has written it, and names a module of bc4all that is not here.
    """
    with ZipFile(file) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        modules = set(_modules(schema))
        unknown = sorted(name for name in modules - _MOVED_MODULES.keys() if not _is_here(name))
        if unknown:
            told = f"the model file {file.name} needs {', '.join(unknown)}, which this release does not have"
            raise ModelError(told, remedy="use the release that registered the version, or train the client again")
        if not modules & _MOVED_MODULES.keys():
            return file
        copy = BytesIO()
        with ZipFile(copy, "w") as renamed:
            for member in archive.infolist():
                is_schema = member.filename == _SCHEMA
                renamed.writestr(member, json.dumps(_renamed(schema)) if is_schema else archive.read(member))
    copy.seek(0)
    return copy


def _modules(node: Any) -> Iterator[str]:
    """Yield every module of bc4all that a skops schema names."""
    if isinstance(node, dict):
        name = node.get("__module__")
        if isinstance(name, str) and name.partition(".")[0] == "bc4all":
            yield name
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _modules(child)


def _renamed(node: Any) -> Any:
    """Return a skops schema with today's modules in place of those that were moved."""
    if isinstance(node, list):
        return [_renamed(child) for child in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(child) for key, child in node.items()}
    name = renamed.get("__module__")
    return {**renamed, "__module__": _MOVED_MODULES[name]} if name in _MOVED_MODULES else renamed


def _is_here(module: str) -> bool:
    """Return whether this release has a module; nothing of it is imported but the packages above it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
