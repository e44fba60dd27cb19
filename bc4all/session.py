"""The SparkSession of a job, and the names that its work carries in Spark's pages and logs."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from bc4all.errors import ConfigurationError


def start_session(name: str) -> SparkSession:
    """The session of this application; every setting comes from spark-submit and conf/spark-defaults.conf.

    Raises ConfigurationError under Spark Connect, which has no broadcast variables.
    """
    spark = SparkSession.builder.appName(name).getOrCreate()
    if not hasattr(spark, "sparkContext") or "connect" in type(spark).__module__:
        raise ConfigurationError(
            "Spark Connect has no broadcast variables, which the jobs need",
            remedy="submit to the cluster itself: bin/submit.sh … -- --master spark://HOST:7077",
        )
    return spark


@contextmanager
def phase(spark: SparkSession, client_id: str, job: str, name: str) -> Iterator[None]:
    """Name the Spark jobs started inside, on this thread, `client · job · phase`."""
    context = spark.sparkContext
    context.setJobGroup(f"{client_id}/{job}", f"{client_id} · {job} · {name}", interruptOnCancel=True)
    try:
        yield
    finally:
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
