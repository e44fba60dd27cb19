"""The way of the system that this one replaces: Spark's CSV reader, a broadcast forest, mapInPandas, parquet.

`MODEL INPUT_FOLDER OUTPUT_FOLDER`, by spark-submit. The model is a pickled forest of this benchmark's own.
"""

import sys
from collections.abc import Iterator

import joblib
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from bench.peers.spark_products import FEATURES, read_products


def main() -> None:
    """Read, score and write."""
    spark = SparkSession.builder.appName("the original's way").getOrCreate()
    model = spark.sparkContext.broadcast(joblib.load(sys.argv[1]))
    products = read_products(spark, sys.argv[2], infers=True)

    def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        forest = model.value
        forest.n_jobs = 1
        for frame in frames:
            probabilities = forest.predict_proba(frame[FEATURES].to_numpy(np.float32))
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
            yield pd.DataFrame(
                {
                    "product_id": np.repeat(frame["product_id"].to_numpy(), 5),
                    "pred_label": forest.classes_[order.ravel()],
                    "pred_score": np.take_along_axis(probabilities, order, axis=1).ravel().astype(np.float32),
                    "rank": np.tile(np.arange(5, dtype=np.int32), len(frame)),
                }
            )

    schema = "product_id string, pred_label string, pred_score float, rank int"
    products.mapInPandas(score, schema).write.mode("overwrite").parquet(sys.argv[3])


if __name__ == "__main__":
    main()
