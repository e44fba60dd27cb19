"""Packs of one client's sound rows -> its training set, on the driver or in a task."""

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID, ROW
from bc4all.errors import DataError
from bc4all.kinds import Features
from bc4all.learning import look_alikes
from bc4all.model.features import model_input
from bc4all.model.taxonomy import rename
from bc4all.model.training_set import TrainingSet
from bc4all.reading.packs import Content, id_hashes, rows_of, value_frame

log = logging.getLogger(__name__)


def training_set(
    packs: Iterable[Content],
    features: Features,
    new_names: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = log.warning,
) -> TrainingSet:
    """Return the sound rows of packs, in the order of their files, their categories under their new names.

    Raises DataError where they hold fewer than two categories. `warn` takes what is worth to be known, and no fault.
    """
    frames = [value_frame(rows_of(pack), features) for pack in packs]
    frame = pd.concat(frames).sort_values(ROW, ignore_index=True)
    codes, names = pd.factorize(frame[CATEGORY_ID].to_numpy(object), sort=True)
    if new_names:
        unmet = sorted({name.strip() for name in new_names} - {name.strip() for name in names})
        if unmet:
            shown = ", ".join(unmet[:10]) + (", …" if len(unmet) > 10 else "")
            warn(f"{len(unmet)} old names of the category map are no product's any more: {shown}")
        names, codes = rename(names, codes, new_names)
    alike = look_alikes.warning(dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True)))
    if alike:
        warn(alike)
    if len(names) < 2:
        found = f"{len(names)} category" if len(names) else "no category"
        raise DataError(f"there is {found} where a classifier needs two", CATEGORY_ID, "deliver more products")
    X, ids = model_input(frame, features), pa.array(frame[PRODUCT_ID])
    return TrainingSet(X, codes.astype(np.int32), np.asarray(names, dtype=object), id_hashes(ids), ids)
