"""A client's labelled products in memory."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from bc4all.model.features import Matrix

MIN_COMPARED_ROWS = 30  # on fewer, two versions are not compared


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows in file order.

    X (rows, features) of `model_input`; codes int32 (rows,): each row's place in `names`, the sorted categories; ids
    int64 (rows,): hashes of the products' ids; product_ids (rows,): themselves, as Arrow's strings.
    """

    X: Matrix
    codes: np.ndarray
    names: np.ndarray
    ids: np.ndarray
    product_ids: pa.Array

    def labels(self, places: np.ndarray) -> np.ndarray:
        """Return the category names of some rows."""
        return np.asarray(self.names[self.codes[places]])

    @property
    def sha256(self) -> str:
        """The digest of values and labels, in order: equal data has an equal digest, whatever the file format."""
        content = hashlib.sha256()
        for part in [self.X[name] for name in self.X] if isinstance(self.X, pd.DataFrame) else [self.X]:
            content.update("\0".join(part).encode() if part.dtype == object else np.asarray(part).tobytes())
        content.update(self.codes.tobytes())
        content.update("\0".join(self.names).encode())
        return content.hexdigest()
