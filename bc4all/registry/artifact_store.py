"""Where MLflow keeps artifacts beside a default store: below DATA_PREFIX, by addresses that move with it.

MLflow's database holds the address of every artifact. An absolute one would lead a copied DATA_PREFIX to the files of
the original; `bc4all:/mlartifacts/…` is relative to the folder of the SQLite file that holds it. MLflow's own programs
find this module by the entry point `mlflow.artifact_repository` of the installed package.
"""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

SCHEME = "bc4all"
FOLDER = "mlartifacts"  # below DATA_PREFIX
_SQLITE = "sqlite:///"
_SERVERS_STORE = "_MLFLOW_SERVER_FILE_STORE"  # in the environment of `mlflow server`: the database behind it


def relative_address(experiment: str) -> str:
    """Return the address of an experiment's artifacts, relative to the SQLite file that holds it."""
    return f"{SCHEME}:/{FOLDER}/{experiment}"


def sqlite_folder(tracking_uri: str) -> Path | None:
    """Return the folder of the SQLite file that a tracking URI names; None for any other store."""
    return Path(tracking_uri.removeprefix(_SQLITE)).parent if tracking_uri.startswith(_SQLITE) else None


class RelativeArtifactRepository(LocalArtifactRepository):
    """MLflow's local files, addressed as `relative_address` does."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        """Raise MlflowException where the store is no SQLite file, or the address leads out of its folder."""
        store = tracking_uri or registry_uri or os.environ.get(_SERVERS_STORE) or mlflow.get_tracking_uri()
        folder, path = sqlite_folder(store), PurePosixPath(urlsplit(artifact_uri).path)
        if folder is None:
            raise MlflowException(
                f"{artifact_uri} is relative to a SQLite file, and this is none: {store}", INVALID_PARAMETER_VALUE
            )
        if ".." in path.parts or path.parts[:2] != ("/", FOLDER):
            raise MlflowException(f"{artifact_uri} leads out of {folder / FOLDER}", INVALID_PARAMETER_VALUE)
        place = folder.absolute().joinpath(*path.parts[1:])
        super().__init__(place.as_uri(), tracking_uri, registry_uri)


# The entry point is known where the package is installed; a job may run from a zip of its code.
_artifact_repository_registry.register(SCHEME, RelativeArtifactRepository)
