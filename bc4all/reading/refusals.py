"""Refused rows as quarantine keeps them: what they said, as text, and where and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bc4all.column_names import CLIENT
from bc4all.kinds import NUMERIC
from bc4all.reading.packs import Batches, rows_in
from bc4all.reading.rows import Wanted

_ABOUT = ("line", "file", "reason")


@dataclass(frozen=True)
class Refusals:
    """What tasks run on packs of clients that want the same columns of the same kinds: their refused rows.

    `uris` are the files of each client by their numbers.
    """

    wanted: Wanted
    uris: Mapping[int, Sequence[str]]

    @property
    def schema(self) -> pa.Schema:
        """The wanted columns and, with an underscore where a feature is called so, too, line, file, reason: texts.

        The client's number comes last.
        """
        about = [f"_{name}" if name in self.wanted.features else name for name in _ABOUT]
        texts = [(name, pa.string()) for name in (*self.wanted.names, *about)]
        return pa.schema([*texts, (CLIENT, pa.int32())])

    def __call__(self, batches: Batches) -> Batches:
        """Yield the refused rows of each pack."""
        for client, rows in rows_in(batches):
            refused = rows.filter(pc.is_valid(rows["fault"]))
            if refused.num_rows:
                columns = zip(*(self._texts(client, row) for row in refused.to_pylist()), strict=True)
                texts = [pa.array(column, pa.string()) for column in columns]
                clients = pa.array([client] * refused.num_rows, pa.int32())
                yield pa.RecordBatch.from_arrays([*texts, clients], schema=self.schema)

    def _texts(self, client: int, row: dict[str, Any]) -> list[str | None]:
        about = [row["line"], self.uris[client][row["file"]], row["fault"]]
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
