"""The kinds that a feature column, and a calibration, may have. Imports nothing heavy: the command line and Spark's
workers both ask.

Features are a mapping from a column's name to its kind, in the order in which the model sees them.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

NUMERIC, CATEGORY, TEXT = "numeric", "category", "text"
KINDS = (NUMERIC, CATEGORY, TEXT)

Features: TypeAlias = Mapping[str, str]

Calibration: TypeAlias = Literal["temperature", "sigmoid", "isotonic"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)  # the one of fewest numbers first


def all_numeric(features: Features) -> bool:
    """Return whether a plain matrix holds them."""
    return set(features.values()) <= {NUMERIC}
