"""Is a staged output what it must be? Asked of what was written, before it is published."""

from collections.abc import Sequence
from typing import NamedTuple

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from bc4all.errors import ModelError, TransientFailure
from bc4all.model.ranking import ANSWERED


def id_sum(name: str) -> Column:
    """Return an aggregate that is equal for equal sets of ids, in any order, and differs if one is lost or doubled."""
    return F.bit_xor(F.xxhash64(name))


class Audited(NamedTuple):
    """The rows of an output, and its best categories: each one's products, and those of them that are answered."""

    rows: int
    best: dict[str, tuple[int, int]]


def audit(spark: SparkSession, staged: str, products: int, ids: int, classes: Sequence[str], top: int) -> Audited:
    """Check a staged output against what it must hold, and say what it does hold.

    Of each rank from 0 to min(top, classes) - 1 there are as many rows as `products`, of the same ids (whose `id_sum`
    is `ids`); no value is null, every label is one of `classes`. Raises ModelError where a label or a value is wrong,
    TransientFailure where rows are lost or doubled.
    """
    rows = spark.read.parquet(staged)
    anything_null = F.greatest(*[F.col(column).isNull().cast("int") for column in rows.columns])
    found = (
        rows.groupBy("rank", "pred_label")
        .agg(
            F.count("*").alias("rows"),
            id_sum("product_id").alias("ids"),
            F.max(anything_null).alias("null"),
            F.max(F.isnan("pred_score")).alias("nan"),
            F.count_if(F.col(ANSWERED) if ANSWERED in rows.columns else F.lit(True)).alias("answered"),
        )
        .collect()
    )
    if any(row["null"] or row["nan"] for row in found):
        raise ModelError("the output holds a null or a score that is no number", staged, "train this client again")
    strange = {row["pred_label"] for row in found} - set(classes)
    if strange:
        raise ModelError(f"the output holds {len(strange)} labels that the model does not know", staged)
    per_rank: dict[int, tuple[int, int]] = {}
    for row in found:
        counted, summed = per_rank.get(row["rank"], (0, 0))
        per_rank[row["rank"]] = counted + row["rows"], summed ^ row["ids"]
    ranks, total = min(top, len(classes)), sum(counted for counted, _ in per_rank.values())
    if per_rank != dict.fromkeys(range(ranks), (products, ids)):
        what = f"{total} rows where {products} x {ranks} were due, each product once in each rank"
        raise TransientFailure(f"the output has {what}", staged, "nothing was published; run it again")
    best = {row["pred_label"]: (row["rows"], row["answered"]) for row in found if row["rank"] == 0}
    return Audited(total, best)


def audit_count(spark: SparkSession, staged: str, rows: int) -> None:
    """Raise TransientFailure where a staged folder has not as many rows."""
    found = spark.read.parquet(staged).count()
    if found != rows:
        raise TransientFailure(f"{found} rows are there where {rows} were due", staged, "run it again")
