"""`bc4all relocate`: let MLflow's store lead to the files below this DATA_PREFIX, after they were moved or copied here.

MLflow has no request that changes an address, so they are changed in its database, all in one transaction. Artifacts
themselves are never touched.
"""

import os
from collections.abc import Sequence

import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import Experiment
from sqlalchemy.exc import SQLAlchemyError

from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.layout import Layout
from bc4all.redaction import redact
from bc4all.registry.artifact_store import FOLDER, SCHEME
from bc4all.registry.ownership import OWNER_TAG, Store
from bc4all.registry.tracking import Tracking

# Where MLflow's database says that files are: its schema of series 3.17.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def relocate(layout: Layout, uri: str) -> list[str]:
    """Give every experiment that belongs to another DATA_PREFIX to this one; return a line for each change.

    Raises ConfigurationError, and changes nothing, where the artifacts are not here, where the store is shared with a
    prefix whose artifacts still lie where they were, or where only the database behind a server could be changed.
    """
    store, experiments = Store(uri, layout), Tracking(uri, layout).experiments()
    absolute = [one for one in experiments if not str(one.artifact_location).startswith(f"{SCHEME}:")]
    placed = [one for one in absolute if str(one.artifact_location).endswith(f"/{FOLDER}/{one.name}")]
    old = sorted({str(store.owner(one)) for one in placed if store.is_inside or store.is_foreign(one)})
    tagged = [one for one in experiments if one not in placed and store.is_foreign(one)]
    _check(store, experiments, old)
    lines = [_move(store, prefix) for prefix in old]
    for experiment in tagged:
        MlflowClient(uri).set_experiment_tag(experiment.experiment_id, OWNER_TAG, layout.prefix)
    if tagged:
        lines.append(f"{len(tagged)} experiments now belong to {layout.prefix}")
    return lines


def _check(store: Store, experiments: Sequence[Experiment], old: Sequence[str]) -> None:
    here = store.layout.local_path
    if old and not store.is_database:
        raise ConfigurationError(
            f"{old[0]} stands in the database behind this server",
            redact(store.uri),
            "run this with MLFLOW_TRACKING_URI set to that database's own URI",
        )
    if old and here is not None and not (here / FOLDER).is_dir():
        raise ConfigurationError(
            f"there is no {here / FOLDER}", remedy=f"move or copy it here from {old[0]}/{FOLDER}, then try again"
        )
    for prefix in {str(store.owner(one)) for one in experiments if not store.is_inside and store.is_foreign(one)}:
        before = Layout.at(prefix).local_path
        if before is not None and os.path.isdir(before / FOLDER):
            raise ConfigurationError(
                f"{before / FOLDER} is still there, and its jobs use the same MLflow",
                redact(store.uri),
                "set MLFLOW_TRACKING_URI to a store of this copy's own",
            )


def _move(store: Store, old: str) -> str:
    """Replace one prefix in all addresses of the database, and say how many there were."""
    before = f"{old}/{FOLDER}/"
    after = f"{SCHEME}:/{FOLDER}/" if store.is_inside else f"{store.layout.prefix}/{FOLDER}/"
    changed = 0
    engine = sa.create_engine(store.uri)
    try:
        with engine.begin() as database:
            for table, name in ADDRESSES:
                column: sa.ColumnClause[str] = sa.column(name)
                moved = sa.literal(after).concat(sa.func.substr(column, len(before) + 1))
                begins = sa.func.substr(column, 1, len(before)) == before
                update = sa.update(sa.table(table, column)).where(begins).values({name: moved})
                changed += database.execute(update).rowcount
    except SQLAlchemyError as error:
        told = str(error).splitlines()[0]
        raise TransientFailure(f"MLflow's database was not changed: {told}", redact(store.uri)) from error
    finally:
        engine.dispose()
    return f"{changed} addresses below {before} now lead to {store.layout.prefix}/{FOLDER}/"
