"""Is every line of a client's files in one of its rows? Counts of what was read against what the files hold."""

from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from bc4all.data.partition import Footer, Heads
from bc4all.errors import DataError
from bc4all.reading.facts import BIN, END, KEYS


class _End(NamedTuple):
    """What the row behind a file's last one says."""

    lines: int
    empty: int
    fault: str | None


_NOTHING = _End(0, 0, None)  # of a file without a byte, which Spark leaves out


class Counts(NamedTuple):
    """What the packs of a client say: the rows of each reason (None for sound ones) and their `id_sum`; by file, the
    lines that these take and how it ends; what else was counted.
    """

    rows: dict[str | None, tuple[int, int]]
    lines: dict[int, int]
    ends: dict[int, _End]
    bins: list[tuple[str, str, bool, int]]

    @classmethod
    def nothing(cls) -> "Counts":
        """Return the counts of a client without a pack."""
        return cls({}, {}, {}, [])

    @property
    def accepted(self) -> tuple[int, int]:
        """The sound rows, and the `id_sum` of them."""
        return self.rows.get(None, (0, 0))

    @property
    def refused(self) -> dict[str, tuple[int, int]]:
        """The others by reason."""
        return {reason: found for reason, found in self.rows.items() if reason is not None}


def count_packs(packs: DataFrame) -> dict[int, Counts]:
    """Return what packs say of themselves, by client: they are there, and kept, when this is known."""
    found = packs.selectExpr("client", "inline(facts)").groupBy("client", *KEYS)
    sums = F.sum("count").alias("count"), F.sum("lines").alias("lines"), F.bit_xor("ids").alias("ids")
    of_all: dict[int, Counts] = {}
    for client, kind, file, name, bin_, is_new, count, lines, ids in found.agg(*sums).collect():
        counts = of_all.setdefault(client, Counts.nothing())
        if kind == END:
            counts.ends[file] = _End(lines, count, name)
        elif kind == BIN:
            counts.bins.append((name, bin_, is_new, count))
        else:
            counts.lines[file] = counts.lines.get(file, 0) + lines
            rows, sum_of_ids = counts.rows.get(name, (0, 0))
            counts.rows[name] = rows + count, sum_of_ids ^ ids
    return of_all


def check_ends(folder: str, heads: Heads, counts: Counts) -> None:
    """Raise DataError by the first file that could not be read, or whose rows took another number of lines than it has.

    A CSV file's lines are counted apart from what reads its records, a parquet file's rows by its footer. Raises it,
    too, where there is no row at all.
    """
    remedy = "nothing was published: look there for a quote that is not closed, or deliver it as parquet"
    for number, (entry, head) in enumerate(heads.items()):
        end = counts.ends.get(number)
        if isinstance(head, Footer):
            end = _End(head.rows, 0, end.fault if end else None)
        elif not entry.size:
            end = _NOTHING
        if end is None:
            raise DataError(f"{entry.uri} was not read to its end", remedy=remedy)
        if end.fault is not None:
            raise DataError(end.fault)
        lost = end.lines - end.empty - counts.lines.get(number, 0)
        if lost > 0:
            raise DataError(f"{entry.uri}: {lost} of {end.lines} lines are in no row", remedy=remedy)
        if lost < 0:
            raise DataError(f"{entry.uri}: {-lost} lines too many are in its rows", remedy=remedy)
    if not counts.rows:
        raise DataError("there are no rows", folder, "deliver the client's products")
