"""What tests look at: the sound rows of packs as a frame, in the order of their files; and packs that lack a row."""

from dataclasses import dataclass

import pandas as pd
import pyarrow.compute as pc

from bc4all.column_names import ROW
from bc4all.data.products import Products
from bc4all.reading.packs import Batches, packed, rows_of, value_frame
from bc4all.reading.rows import Wanted
from bc4all.reading.worker import Lines, Table, WholeFiles


def accepted_frame(products: Products) -> pd.DataFrame:
    """The accepted rows: ids as str, numbers NaN where missing, words None."""
    contents = products.accepted.toArrow()["rows"]
    frames = [value_frame(rows_of(content.as_buffer()), products.wanted.features) for content in contents]
    whole = pd.concat(frames).sort_values(ROW, ignore_index=True)
    return whole.astype({"product_id": object, "category_id": object})


@dataclass(frozen=True)
class Losing:
    """Reads as a task does, and loses the product called "lost"."""

    read: WholeFiles | Lines | Table

    def __call__(self, batches: Batches) -> Batches:
        """Yield packs that do not know of it."""
        for pack in self.read(batches):
            client, content = pack["client"][0].as_py(), pack["rows"][0]
            rows = rows_of(content.as_buffer()) if content.is_valid else None
            kept = rows and rows.filter(pc.not_equal(rows["product_id"], "lost"))
            yield packed(client, kept, self._wanted(client)) if kept else pack

    def _wanted(self, client: int) -> Wanted:
        return self.read.wanted if isinstance(self.read, Lines) else self.read.wanted[client]
