"""Spark ML's own RandomForestClassifier, by spark-submit: `fit FILE MODEL_FOLDER TREES`, `predict MODEL INPUT OUTPUT`.

Its trees are at most `_DEPTH` deep: deeper ones take it an hour for what scikit-learn does in seconds. It writes the
best category alone.
"""

import sys
from typing import Any

from pyspark.ml import Estimator, Pipeline, PipelineModel, Transformer
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import IndexToString, StringIndexer, VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from bench.peers.spark_products import FEATURES, read_products

_DEPTH = 10


def fit(spark: SparkSession, file: str, model: str, trees: int) -> None:
    """Fit a forest on a CSV file, and keep it."""
    products = spark.read.csv(file, header=True, inferSchema=True)
    labels = StringIndexer(inputCol="category_id", outputCol="label").fit(products)
    stages: list[Estimator[Any] | Transformer] = [
        VectorAssembler(inputCols=FEATURES, outputCol="features"),
        RandomForestClassifier(numTrees=trees, maxDepth=_DEPTH, seed=1),
        IndexToString(inputCol="prediction", outputCol="pred_label", labels=labels.labels),
    ]
    fitted = Pipeline(stages=stages).fit(labels.transform(products))
    fitted.write().overwrite().save(model)


def predict(spark: SparkSession, model: str, source: str, target: str) -> None:
    """Read, score and write."""
    scored = PipelineModel.load(model).transform(read_products(spark, source))
    scored.select("product_id", "pred_label", sf.lit(0).alias("rank")).write.mode("overwrite").parquet(target)


def main() -> None:
    """Do one of the two."""
    spark = SparkSession.builder.appName("Spark ML").getOrCreate()
    if sys.argv[1] == "fit":
        fit(spark, sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        predict(spark, *sys.argv[2:5])


if __name__ == "__main__":
    main()
