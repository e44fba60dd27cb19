"""Stage, audit, publish: an output partition becomes the live one only when it is whole.

Output is written below `_staging/<run>`, outside every root that readers discover, and moved in place by rename; the
partition that it replaces goes to `_trash/<run>` first. Where a folder cannot be renamed in one step (an object store),
files go one by one, and `_SUCCESS` comes last and goes first: a partition with it is whole. What is written, and what
it means, is not decided here.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from bc4all.errors import Failure, ModelError, TransientFailure
from bc4all.filesystem import FileSystem
from bc4all.layout import MANIFEST, Layout

log = logging.getLogger(__name__)

_SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class Publisher:
    """Publishes the partitions of one run. `run_id` names its folders below `_staging` and `_trash`."""

    files: FileSystem
    layout: Layout
    run_id: str

    def stage(self, rows: DataFrame, name: str) -> str:
        """Write `rows` as parquet below the staging folder and return where."""
        folder = f"{self.layout.staging(self.run_id)}/{name}"
        self.files.delete(folder)
        rows.write.parquet(folder)
        return folder

    def publish(self, staged: str, target: str, manifest: Mapping[str, Any]) -> None:
        """Make the staged folder the live partition, with its manifest; the one before is replaced whole.

        Where that fails, the one before is live again; where even that fails, the error names where it is kept.
        """
        parts = [{"name": e.name, "bytes": e.size} for e in self.files.listing(staged) if e.name.endswith(".parquet")]
        described = {"run_id": self.run_id, **manifest, "files": parts}
        self.files.write_text(f"{staged}/{MANIFEST}", json.dumps(described, indent=2) + "\n")
        if not self.files.exists(f"{staged}/{_SUCCESS}"):  # some committers leave it out, and readers look for it
            self.files.write_text(f"{staged}/{_SUCCESS}", "")
        replaced = self._withdraw(target)
        try:
            self._move(staged, target)
        except BaseException as error:
            if replaced:
                self._restore(replaced, target, error)
            raise
        if replaced:
            self._forget()

    def remove(self, target: str) -> None:
        """Take a live partition away, if there is one."""
        if self._withdraw(target):
            self._forget()

    def _forget(self) -> None:
        """Delete what this run replaced: all of it, since a run that could not put something back has ended there."""
        self.files.delete(self.layout.trash(self.run_id))

    def _withdraw(self, target: str) -> str | None:
        """Take a live partition out of the readers' sight and return where it is kept; None if there was none."""
        if not self.files.exists(target):
            return None
        kept = f"{self.layout.trash(self.run_id)}/{target.removeprefix(self.layout.prefix).strip('/')}"
        if self.files.renames_atomically:
            self.files.rename(target, kept)
            return kept
        try:
            if self.files.exists(f"{target}/{_SUCCESS}"):
                self.files.rename(f"{target}/{_SUCCESS}", f"{kept}/{_SUCCESS}")
            self._move(target, kept)
        except BaseException as error:
            self._put_back(kept, target, error)
            raise
        return kept

    def _move(self, source: str, target: str) -> None:
        """The folder in one step, or its files: data, then the manifest, then `_SUCCESS`."""
        if self.files.renames_atomically:
            self.files.rename(source, target)
            return
        last = {MANIFEST: 1, _SUCCESS: 2}
        for entry in sorted(self.files.listing(source), key=lambda entry: last.get(entry.name, 0)):
            self.files.rename(entry.uri, f"{target}/{entry.name}")

    def _restore(self, kept: str, target: str, error: BaseException) -> None:
        """Make the partition that was withdrawn live again, in place of what `error` left of its successor."""
        if self.files.renames_atomically and self.files.exists(target):
            return  # the successor came through all the same
        self._put_back(kept, target, error, clear=True)

    def _put_back(self, kept: str, target: str, error: BaseException, clear: bool = False) -> None:
        try:
            if clear:
                self.files.delete(target)
            self._move(kept, target)
        except Failure as second:
            remedy = f"what was live is kept in {kept}: once the storage is well, move it back or run the job again"
            raise TransientFailure(
                f"{error}; and putting back what was live failed: {second}", target, remedy
            ) from error
        self._forget()


@contextmanager
def publishing(files: FileSystem, layout: Layout, run_id: str) -> Iterator[Publisher]:
    """A Publisher; what it staged is removed at the end, and no failure to do so hides the block's own."""
    staging = layout.staging(run_id)
    try:
        yield Publisher(files, layout, run_id)
    except BaseException:
        try:
            files.delete(staging)
        except Failure as failure:
            log.warning("%s is left behind: %s", staging, failure)
        raise
    files.delete(staging)


def audit(spark: SparkSession, staged: str, products: int, classes: Sequence[str], top: int) -> int:
    """Check a staged output against what it must hold and return its rows.

    There are as many rows of each rank from 0 to min(top, classes) - 1 as `products`, no value is null, every label is
    one of `classes`. Raises ModelError where a label or a value is wrong, TransientFailure where the counts are.
    """
    rows = spark.read.parquet(staged)
    anything_null = F.greatest(*[F.col(column).isNull().cast("int") for column in rows.columns])
    found = (
        rows.groupBy("rank", "pred_label")
        .agg(F.count("*").alias("rows"), F.max(anything_null).alias("null"), F.max(F.isnan("pred_score")).alias("nan"))
        .collect()
    )
    if any(row["null"] or row["nan"] for row in found):
        raise ModelError("the output holds a null or a score that is no number", staged, "train this client again")
    strange = {row["pred_label"] for row in found} - set(classes)
    if strange:
        raise ModelError(f"the output holds {len(strange)} labels that the model does not know", staged)
    per_rank: dict[int, int] = {}
    for row in found:
        per_rank[row["rank"]] = per_rank.get(row["rank"], 0) + row["rows"]
    if per_rank != dict.fromkeys(range(min(top, len(classes))), products):
        raise TransientFailure(
            f"the output has {sum(per_rank.values())} rows where {products} x {min(top, len(classes))} were due",
            staged,
            "nothing was published; run it again",
        )
    return sum(per_rank.values())
