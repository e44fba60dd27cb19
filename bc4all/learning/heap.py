"""How much memory the driver's Java may take."""

from typing import Any

from pyspark.sql import SparkSession


def heap_bytes(spark: SparkSession) -> int:
    """Return the most memory, in bytes, that the driver's Java may take for its heap (`--driver-memory`)."""
    jvm: Any = spark._jvm
    return int(jvm.java.lang.Runtime.getRuntime().maxMemory())
