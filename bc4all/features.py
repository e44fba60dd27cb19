"""Feature columns -> model input. Runs inside Python workers: pandas and NumPy only."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def feature_matrix(frame: pd.DataFrame, features: Sequence[str]) -> np.ndarray:
    """The columns `features` of `frame`, in that order, as float64 of shape (rows, features); NaN where missing."""
    return frame.loc[:, list(features)].to_numpy(dtype=np.float64, na_value=np.nan)
