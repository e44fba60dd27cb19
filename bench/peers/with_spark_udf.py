"""MLflow's own way to score with Spark: `mlflow.pyfunc.spark_udf` over a column of structs, by spark-submit.

`MODEL_FOLDER INPUT_FOLDER OUTPUT_FOLDER`. It writes the best category alone, which is what a model's `predict` gives.
The model is this benchmark's own.
"""

import sys

import mlflow
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from bench.peers.spark_products import FEATURES, read_products


def main() -> None:
    """Read, score and write."""
    spark = SparkSession.builder.appName("mlflow.pyfunc.spark_udf").getOrCreate()
    predict = mlflow.pyfunc.spark_udf(spark, sys.argv[1], result_type="string", env_manager="local")
    best = predict(sf.struct(*FEATURES)).alias("pred_label")
    scored = read_products(spark, sys.argv[2]).select("product_id", best, sf.lit(0).alias("rank"))
    scored.write.mode("overwrite").parquet(sys.argv[3])


if __name__ == "__main__":
    main()
