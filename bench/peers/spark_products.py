"""How a plain Spark job reads a client's products."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

FEATURES = ["f0", "f1", "f2", "f3", "f4"]


def read_products(spark: SparkSession, folder: str) -> DataFrame:
    """Return the products of a folder, spread over four tasks a core."""
    if list(Path(folder).glob("*.parquet")):
        products = spark.read.parquet(folder)
    else:
        products = spark.read.csv(folder, header=True, inferSchema=True)
    return products.repartition(spark.sparkContext.defaultParallelism * 4)
