"""How a plain Spark job reads a client's products."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

FEATURES = ["f0", "f1", "f2", "f3", "f4"]


def read_products(spark: SparkSession, folder: str, infers: bool = False) -> DataFrame:
    """Return the products of a folder, spread over four tasks a core; `infers` reads CSV twice, to see its types."""
    if list(Path(folder).glob("*.parquet")):
        products = spark.read.parquet(folder)
    elif infers:
        products = spark.read.csv(folder, header=True, inferSchema=True)
    else:
        types = ", ".join(f"{name} double" for name in FEATURES)
        products = spark.read.csv(folder, header=True, schema=f"product_id string, {types}")
    return products.repartition(spark.sparkContext.defaultParallelism * 4)
