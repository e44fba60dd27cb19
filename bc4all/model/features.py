"""Feature columns -> model input. Runs inside Python workers: pandas and NumPy only."""

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from bc4all.kinds import NUMERIC, Features, all_numeric

Matrix: TypeAlias = Any  # np.ndarray | pd.DataFrame; scikit-learn has no name for what it takes


def model_input(frame: pd.DataFrame, features: Features) -> Matrix:
    """Return the columns `features` of `frame`, in that order.

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


def joined(texts: pd.DataFrame, separator: str = " ") -> list[str]:
    """Return the columns' texts of each row as one, without those that are empty."""
    return [separator.join(filter(None, row)) for row in texts.itertuples(index=False)]


def rows_at(X: Matrix, places: np.ndarray) -> Matrix:
    """Return some rows of a model input, in the order of `places`."""
    return X.iloc[places] if isinstance(X, pd.DataFrame) else X[places]
