"""What tests look at: the sound rows of packs as a frame, in the order of their files."""

import pandas as pd

from bc4all.column_names import ROW
from bc4all.data.products import Products
from bc4all.reading.packs import rows_of, value_frame


def accepted_frame(products: Products) -> pd.DataFrame:
    """The accepted rows: ids as str, numbers NaN where missing, words None."""
    contents = products.accepted.toArrow()["rows"]
    frames = [value_frame(rows_of(content.as_buffer()), products.wanted.features) for content in contents]
    whole = pd.concat(frames).sort_values(ROW, ignore_index=True)
    return whole.astype({"product_id": object, "category_id": object})
