"""A client's products: which rows are sound, and which are refused, with the reason.

Every row of every file ends up either among the accepted ones or the refused; what is sound is decided in `reading`,
inside the tasks. Nothing here writes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from bc4all.column_names import CLIENT
from bc4all.data.entry import Entry
from bc4all.data.filesystem import FileSystem
from bc4all.data.partition import check_unchanged
from bc4all.reading.facts import ROWS
from bc4all.reading.refusals import Refusals
from bc4all.reading.rows import Wanted


@dataclass(frozen=True)
class KeptPacks:
    """Packs that Spark keeps, and the rows that were refused last: an executor's are made again when it is lost."""

    packs: DataFrame
    doubled: Broadcast[dict[int, np.ndarray]] | None = None

    def accepted(self, clients: Collection[int]) -> DataFrame:
        """Return the packs of these clients that have sound rows: `client int, rows binary`."""
        return self._where(clients, "IS NULL")

    def refused(self, clients: Collection[int]) -> DataFrame:
        """Return their packs that have refused rows."""
        return self._where(clients, "IS NOT NULL")

    def _where(self, clients: Collection[int], condition: str) -> DataFrame:
        chosen = self.packs.where(self.packs["client"].isin(list(clients)))
        chosen = chosen.where(f"exists(facts, fact -> fact.kind = '{ROWS}' AND fact.name {condition})")
        return chosen.select("client", "rows")

    def release(self) -> None:
        """Give them back."""
        self.packs.unpersist()
        if self.doubled:
            self.doubled.destroy()


@dataclass(frozen=True)
class Products:
    """One client's partition, read once, as packs by `reading.packs.PACKS`, which are kept until `release`.

    Others' packs may be among them, if they were read at once: this client's have its `number`.
    """

    number: int
    kept: KeptPacks
    accepted_rows: int
    accepted_ids: int  # their `id_sum`
    refusals: Mapping[str, int]  # reason -> rows
    empty_lines: int  # of commas alone, which are skipped
    bins: Sequence[tuple[str, str, bool, int]]  # what `Wanted.count` has counted of accepted rows
    wanted: Wanted
    folder: str
    source: Sequence[Entry]  # the files as they were listed before they were read

    @property
    def accepted(self) -> DataFrame:
        """The packs that have sound rows: `client int, rows binary`."""
        return self.kept.accepted([self.number])

    @property
    def refused(self) -> DataFrame:
        """The refused rows, as text: the wanted columns, the raw line if it would not split, the file, the reason.

        These three are called `_line`, `_file`, `_reason` where a feature has that name.
        """
        return refused([self]).drop(CLIENT)

    @property
    def refused_rows(self) -> int:
        """Rows that go to quarantine."""
        return sum(self.refusals.values())

    @property
    def rows(self) -> int:
        """All rows of the partition."""
        return self.accepted_rows + self.refused_rows

    def too_many_refused(self, max_quarantine: float) -> bool:
        """Return whether more than that share of the rows is refused, or all."""
        return self.refused_rows / self.rows > max_quarantine or not self.accepted_rows

    def check_unchanged(self, files: FileSystem) -> None:
        """Raise TransientFailure where the files are no longer those that were read."""
        check_unchanged(files, self.folder, self.source)

    def release(self) -> None:
        """Give the kept packs back, which no client that was read at once needs any more."""
        self.kept.release()


def refused(read_at_once: Sequence[Products]) -> DataFrame:
    """Return the refused rows, by `Products.refused` and with CLIENT, of clients with the same columns and kinds."""
    first = read_at_once[0]
    uris = {products.number: [entry.uri for entry in products.source] for products in read_at_once}
    refusals = Refusals(first.wanted, uris)
    return first.kept.refused(uris).mapInArrow(refusals.__call__, from_arrow_schema(refusals.schema))
