"""Refused rows as quarantine keeps them: what they said, as text, and where and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bc4all.kinds import NUMERIC
from bc4all.reading.packs import Batches, rows_in
from bc4all.reading.rows import Wanted

_ABOUT = ("line", "file", "reason")


@dataclass(frozen=True)
class Refusals:
    """What tasks run on packs: their refused rows, of `wanted` columns; `uris` are the files by their numbers."""

    wanted: Wanted
    uris: Sequence[str]

    @property
    def schema(self) -> pa.Schema:
        """The wanted columns and, with an underscore where a feature is called so, too, line, file, reason: texts."""
        about = [f"_{name}" if name in self.wanted.features else name for name in _ABOUT]
        return pa.schema([(name, pa.string()) for name in (*self.wanted.names, *about)])

    def __call__(self, batches: Batches) -> Batches:
        """Yield the refused rows of each pack."""
        for rows in rows_in(batches):
            refused = rows.filter(pc.is_valid(rows["fault"]))
            if refused.num_rows:
                columns = zip(*map(self._texts, refused.to_pylist()), strict=True)
                yield pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=self.schema)

    def _texts(self, row: dict[str, Any]) -> list[str | None]:
        about = [row["line"], self.uris[row["file"]], row["fault"]]
        return [*(row["given"] or self._read_back(row)), *about]

    def _read_back(self, row: dict[str, Any]) -> Iterable[str | None]:
        """Return the texts of a row that was sound when it was read, or that has a line alone."""
        numbers, words = iter(row["numbers"] or ()), iter(row["words"] or ())
        ids = {name: row[name] for name in self.wanted.names if name not in self.wanted.features}
        for name in self.wanted.names:
            if name in ids:
                yield ids[name]
            elif self.wanted.features[name] == NUMERIC:
                number = next(numbers, None)
                yield None if number is None or number != number else repr(number)
            else:
                yield next(words, None)
