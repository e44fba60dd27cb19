"""Feature columns -> model input. Runs inside Python workers: pandas and NumPy only.

Features are a mapping from a column's name to its kind, in the order in which the model sees them.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

NUMERIC, CATEGORY, TEXT = "numeric", "category", "text"
KINDS = (NUMERIC, CATEGORY, TEXT)

Features: TypeAlias = Mapping[str, str]
Matrix: TypeAlias = Any  # np.ndarray | pd.DataFrame; scikit-learn has no name for what it takes


def all_numeric(features: Features) -> bool:
    """Whether a plain matrix holds them."""
    return set(features.values()) <= {NUMERIC}


def model_input(frame: pd.DataFrame, features: Features) -> Matrix:
    """The columns `features` of `frame`, in that order.

    All numeric: float64 of shape (rows, features), NaN where missing. Else a DataFrame, whose text and category
    columns hold str, "" where missing.
    """
    if all_numeric(features):
        return frame.loc[:, list(features)].to_numpy(dtype=np.float64, na_value=np.nan)
    columns = {name: _column(frame[name], kind) for name, kind in features.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


def _column(values: pd.Series, kind: str) -> np.ndarray:
    if kind == NUMERIC:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return values.astype(object).where(values.notna(), "").to_numpy()


def rows_at(X: Matrix, places: np.ndarray) -> Matrix:
    """Some rows of a model input, in the order of `places`."""
    return X.iloc[places] if isinstance(X, pd.DataFrame) else X[places]
