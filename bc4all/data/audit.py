"""Is a staged output what it must be? Asked of what was written, before it is published."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.compute as pc
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from bc4all.column_names import CLIENT
from bc4all.data.publishing import staged_part
from bc4all.errors import Failure, ModelError, TransientFailure
from bc4all.model.ranking import ANSWERED


def id_sum(name: str) -> Column:
    """Return an aggregate that is equal for equal sets of ids, in any order, and differs if one is lost or doubled."""
    return F.bit_xor(F.xxhash64(name))


class Due(NamedTuple):
    """What a client's output must hold: this many products in each rank, of these ids (their `id_sum`), its labels."""

    products: int
    ids: int
    classes: Sequence[str]


class Audited(NamedTuple):
    """The rows of an output, and its best categories: each one's products, and those of them that are answered."""

    rows: int
    best: dict[str, tuple[int, int]]


def audit(
    spark: SparkSession, staged: str, schema: str, due: Mapping[int, Due], top: int
) -> Mapping[int, Audited | Failure]:
    """Check what clients have staged together, and say what each one's output holds, or what is wrong with it.

    Of each rank from 0 to min(top, classes) - 1 there are as many rows as products, of the same ids; no value is null,
    every label is one of the classes. It is a ModelError where a label or a value is wrong, a TransientFailure where
    rows are lost or doubled. `schema` are the columns, the client's number among them.
    """
    rows = spark.read.schema(schema).parquet(staged)
    anything_null = F.greatest(*[F.col(column).isNull().cast("int") for column in rows.columns])
    sums = (
        F.count("*").alias("rows"),
        id_sum("product_id").alias("ids"),
        F.max(anything_null).alias("null"),
        F.max(F.isnan("pred_score")).alias("nan"),
        F.count_if(F.col(ANSWERED) if ANSWERED in rows.columns else F.lit(True)).alias("answered"),
    )
    found = rows.groupBy(CLIENT, "rank", "pred_label").agg(*sums).toArrow()  # of all clients at once: no Python objects
    return {
        client: _judged(
            found.filter(pc.equal(found[CLIENT], client)).to_pylist(), its, staged_part(staged, client), top
        )
        for client, its in due.items()
    }


def _judged(found: Sequence[Mapping[str, Any]], due: Due, staged: str, top: int) -> Audited | Failure:
    if any(row["null"] or row["nan"] for row in found):
        return ModelError("the output holds a null or a score that is no number", staged, "train this client again")
    strange = {row["pred_label"] for row in found} - set(due.classes)
    if strange:
        return ModelError(f"the output holds {len(strange)} labels that the model does not know", staged)
    per_rank: dict[int, tuple[int, int]] = {}
    for row in found:
        counted, summed = per_rank.get(row["rank"], (0, 0))
        per_rank[row["rank"]] = counted + row["rows"], summed ^ row["ids"]
    ranks, total = min(top, len(due.classes)), sum(counted for counted, _ in per_rank.values())
    if per_rank != dict.fromkeys(range(ranks), (due.products, due.ids)):
        what = f"{total} rows where {due.products} x {ranks} were due, each product once in each rank"
        return TransientFailure(f"the output has {what}", staged, "nothing was published; run it again")
    best = {row["pred_label"]: (row["rows"], row["answered"]) for row in found if row["rank"] == 0}
    return Audited(total, best)


def audit_counts(spark: SparkSession, staged: str, due: Mapping[int, int]) -> Mapping[int, Failure]:
    """Return, of clients that have staged together, a TransientFailure for each whose rows are not as many as due."""
    counted = spark.read.schema(f"{CLIENT} int").parquet(staged).groupBy(CLIENT).count().collect()
    found = {row[CLIENT]: row["count"] for row in counted}
    return {
        client: TransientFailure(f"{found.get(client, 0)} rows are there where {rows} were due", remedy="run it again")
        for client, rows in due.items()
        if found.get(client, 0) != rows
    }
