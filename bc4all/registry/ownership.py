"""Whose files an MLflow experiment leads to: those of this DATA_PREFIX, or of one that it was copied or moved from.

A job that wrote or pruned by another prefix's addresses would destroy that one's models. So each experiment has one
owner, told by where its artifacts lie or, where a server places them, by a tag; a job of any other prefix is refused.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow.entities import Experiment

from bc4all.errors import ConfigurationError
from bc4all.layout import Layout
from bc4all.redaction import redact
from bc4all.registry.artifact_store import FOLDER, SCHEME, relative_address, sqlite_folder

OWNER_TAG = "bc4all.data_prefix"
_MAX_SHOWN = 3  # experiments named in a message
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Store:
    """MLflow's store behind `uri`, as the jobs below one DATA_PREFIX use it."""

    uri: str
    layout: Layout

    @property
    def is_database(self) -> bool:
        """Whether MLflow's clients open the database themselves, with no server that places artifacts."""
        return self.uri.partition("://")[0].partition("+")[0] in _DATABASES

    @property
    def is_inside(self) -> bool:
        """Whether it is a SQLite file of DATA_PREFIX itself, which is copied and moved with the artifacts."""
        folder, local = sqlite_folder(self.uri), self.layout.local_path
        return folder is not None and local is not None and os.path.realpath(folder) == os.path.realpath(local)

    def address(self, experiment: str) -> str | None:
        """Return where to keep a new experiment's artifacts; None where a server decides."""
        if self.is_inside:
            return relative_address(experiment)
        # Beside a plain database MLflow would put them in the current directory.
        return f"{self.layout.prefix}/{FOLDER}/{experiment}" if self.is_database else None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a new experiment: the owner, unless the store moves with it."""
        return {} if self.is_inside else {OWNER_TAG: self.layout.prefix}

    def owner(self, experiment: Experiment) -> str | None:
        """Return the DATA_PREFIX that an experiment belongs to; None where nothing says."""
        address, suffix = str(experiment.artifact_location), f"/{FOLDER}/{experiment.name}"
        if address.startswith(f"{SCHEME}:"):
            folder = sqlite_folder(self.uri)
            return f"file://{folder.absolute()}" if folder else "the folder of a SQLite file"
        if address.endswith(suffix):
            return address.removesuffix(suffix)
        owner = (experiment.tags or {}).get(OWNER_TAG)
        return None if owner is None else str(owner)

    def is_foreign(self, experiment: Experiment) -> bool:
        """Return whether an experiment belongs to another DATA_PREFIX than this one."""
        owner = self.owner(experiment)
        return owner is not None and _resolved(owner) != _resolved(self.layout.prefix)

    def check(self, experiments: Iterable[Experiment]) -> None:
        """Raise ConfigurationError where some of the experiments belong to another DATA_PREFIX."""
        foreign = [experiment for experiment in experiments if self.is_foreign(experiment)]
        if not foreign:
            return
        names = [experiment.name for experiment in foreign[:_MAX_SHOWN]]
        more = f" and {len(foreign) - len(names)} more" if len(foreign) > len(names) else ""
        mend = "if the data was moved or copied here: bc4all relocate"
        if not self.is_inside:
            mend = "if the data was moved here: bc4all relocate; a copy needs an MLFLOW_TRACKING_URI of its own"
        raise ConfigurationError(
            f"in MLflow, {', '.join(names)}{more} belong to another DATA_PREFIX, {self.owner(foreign[0])}",
            f"this one is {self.layout.prefix}, its MLflow {redact(self.uri)}",
            mend,
        )


def _resolved(prefix: str) -> str:
    """Return a prefix so that two names of one local folder are equal."""
    local = Layout.at(prefix).local_path
    return prefix if local is None else os.path.realpath(local)
