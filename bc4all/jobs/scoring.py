"""Products -> their best categories as a Spark job: batch by batch, inside Python workers, client by client."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from bc4all.column_names import CLIENT
from bc4all.kinds import Features
from bc4all.learning.shared_value import Shared
from bc4all.model.abstention import Thresholds
from bc4all.model.ranking import ANSWERED, SCORED_SCHEMA, score_frame
from bc4all.reading.packs import packs_by_client, value_frames


@dataclass(frozen=True)
class Scorer:
    """A client's model, with its features and version; with `limits`, the output has the column `answered`, too."""

    model: Shared[Any]
    features: Features
    version: int
    limits: Thresholds | None = None


def score_products(packs: DataFrame, scorers: Mapping[int, Scorer]) -> DataFrame:
    """Return the best categories of the sound rows of packs, `client int, rows binary`, by `scored_schema`.

    All scorers have limits, or none has.
    """
    schema = scored_schema(next(iter(scorers.values())).limits is not None)

    def score_batches(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for client, rows in packs_by_client(frames):
            scorer = scorers[client]
            for frame in value_frames(rows, scorer.features):
                scored = score_frame(scorer.model.value, frame, scorer.features, scorer.version, scorer.limits)
                yield scored.assign(**{CLIENT: np.int32(client)})
            if len(scorers) > 1:  # a worker holds one model at a time; a lone client's it may need again
                scorer.model.forget()

    return packs.mapInPandas(score_batches, schema)


def scored_schema(answered: bool) -> str:
    """Return the columns of the output, and the client's number behind them."""
    return f"{SCORED_SCHEMA}{f', {ANSWERED} boolean' if answered else ''}, {CLIENT} int"
