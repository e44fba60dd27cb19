"""Accepted products -> the training set in the driver's memory."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID, ROW
from bc4all.errors import DataError
from bc4all.kinds import Features
from bc4all.model.features import model_input
from bc4all.model.taxonomy import rename
from bc4all.model.training_set import TrainingSet
from bc4all.reading.packs import id_hashes, rows_of, value_frame

log = logging.getLogger(__name__)


def collect(accepted: DataFrame, features: Features, new_names: Mapping[str, str] | None = None) -> TrainingSet:
    """Bring the sound rows of packs to the driver, in the order of their files, their categories under their new names.

    Raises DataError where they hold fewer than two categories.
    """
    frames = [value_frame(rows_of(pack.as_buffer()), features) for pack in accepted.toArrow()["rows"]]
    frame = pd.concat(frames).sort_values(ROW, ignore_index=True)
    codes, names = pd.factorize(frame[CATEGORY_ID].to_numpy(object), sort=True)
    if new_names:
        unmet = sorted(set(new_names) - set(names))
        if unmet:
            shown = ", ".join(unmet[:10]) + (", …" if len(unmet) > 10 else "")
            log.warning("%d old names of the category map are no product's any more: %s", len(unmet), shown)
        names, codes = rename(names, codes, new_names)
    if len(names) < 2:
        found = f"{len(names)} category" if len(names) else "no category"
        raise DataError(f"there is {found} where a classifier needs two", CATEGORY_ID, "deliver more products")
    X, ids = model_input(frame, features), id_hashes(pa.array(frame[PRODUCT_ID]))
    return TrainingSet(X, codes.astype(np.int32), np.asarray(names, dtype=object), ids)
