"""What a pack says of its rows, so that nobody has to look into it: how many there are, how many lines they take.

Equal facts of many packs are added up: `count` and `lines` by sum, `ids` by exclusive or.
"""

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROWS, BIN, END = "rows", "bin", "end"
KEYS = ("kind", "file", "name", "bin", "is_new")
FACT = pa.struct(
    [
        ("kind", pa.string()),
        ("file", pa.int32()),
        # ROWS: their fault, null where they are sound. BIN: the feature. END: the fault of the file, else null.
        ("name", pa.string()),
        ("bin", pa.string()),  # BIN alone
        ("is_new", pa.bool_()),  # BIN alone: of values that no training product had
        ("count", pa.int64()),  # of rows; END: of lines of commas alone
        ("lines", pa.int64()),  # of text, that the rows take, or that the file has
        ("ids", pa.int64()),  # ROWS that are sound: the exclusive or of their ids' hashes
    ]
)


class Fact(TypedDict, total=False):
    """A fact by its names in FACT; what is left out is null."""

    kind: str
    file: int
    name: str | None
    bin: str
    is_new: bool
    count: int
    lines: int
    ids: int


def end_fact(end: dict[str, Any]) -> Fact:
    """Return what the row behind a file's last one says."""
    found = end["file_end"]
    return Fact(kind=END, file=end["file"], name=found["fault"], count=found["empty"], lines=found["lines"])


def row_facts(rows: pa.RecordBatch, kept: pa.RecordBatch, hashes: np.ndarray) -> list[Fact]:
    """Return what is to be known of rows, of which the sound ones are `kept`, whose ids have the `hashes`."""
    found = []
    files, lines = kept["file"].to_numpy(), kept["lines"].to_numpy()
    for file in np.unique(files).tolist():
        of_file = files == file
        ids = int(np.bitwise_xor.reduce(hashes[of_file]))
        found.append(_rows(file, None, int(of_file.sum()), int(lines[of_file].sum()), ids))
    if kept.num_rows < rows.num_rows:
        refused = rows.filter(pc.is_valid(rows["fault"])).select(["file", "fault", "lines"]).to_pandas()
        for (file, fault), of_fault in refused.groupby(["file", "fault"])["lines"]:
            found.append(_rows(file, fault, len(of_fault), int(of_fault.sum()), 0))
    return found


def _rows(file: int, fault: str | None, count: int, lines: int, ids: int) -> Fact:
    return Fact(kind=ROWS, file=file, name=fault, count=count, lines=lines, ids=ids)


def bin_facts(bins: Iterable[tuple[str, str, bool, int]]) -> list[Fact]:
    """Return what was counted: products by feature, bin, and whether its values are new."""
    return [Fact(kind=BIN, name=name, bin=bin_, is_new=is_new, count=count) for name, bin_, is_new, count in bins]
