"""Products -> their best categories as a Spark job: batch by batch, inside Python workers."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame

from bc4all.kinds import Features
from bc4all.learning.shared_value import Shared
from bc4all.model.abstention import Thresholds
from bc4all.model.ranking import ANSWERED, SCORED_SCHEMA, score_frame
from bc4all.reading.packs import value_frames


def score_products(
    packs: DataFrame, model: Shared[Any], features: Features, version: int, limits: Thresholds | None = None
) -> DataFrame:
    """Return the best categories of the sound rows of packs, `rows binary`, by SCORED_SCHEMA.

    With `limits` there is a column `answered boolean`, too.
    """
    schema = SCORED_SCHEMA if limits is None else f"{SCORED_SCHEMA}, {ANSWERED} boolean"

    def score_batches(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in value_frames(frames, features):
            yield score_frame(model.value, frame, features, version, limits)

    return packs.mapInPandas(score_batches, schema)
