"""Texts -> values: ids, numbers and words as the model sees them, and what is wrong with each, by whole columns."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bc4all.column_names import CATEGORY_ID, PRODUCT_ID
from bc4all.kinds import NUMERIC, Features

# What float("…") takes, without hexadecimal forms and underscores. "NaN" is a missing value.
_NUMBER = r"^[\t\n\v\f\r ]*([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[nN][aA][nN])[\t\n\v\f\r ]*$"
_INFINITE = r"(?i)^[\t\n\v\f\r ]*[+-]?inf(inity)?[\t\n\v\f\r ]*$"
# scikit-learn's trees work in float32 and refuse what overflows it.
_MAX_FLOAT32 = 3.4028234663852886e38
_REPLACED = "\ufffd"  # what bytes that are no UTF-8 are read as
_CONTROL = r"[\x00-\x1f\x7f]"  # no part of a name: such as a NUL, or a line break that a stray quote let in


class Values(NamedTuple):
    """The values of some rows.

    `numbers` is float64 of shape (rows, numeric features), NaN where missing; `words` has a string array for each text
    or category feature, null where missing; `faults` says by row what is wrong with it, null where nothing is.
    """

    products: pa.Array
    categories: pa.Array | None  # None of products to be scored
    numbers: np.ndarray
    words: list[pa.Array]
    faults: pa.Array


def read_values(columns: Mapping[str, pa.Array], features: Features) -> Values:
    """Return the values of columns by their names: PRODUCT_ID, CATEGORY_ID if there is a label, and all `features`.

    Each is an array of text (binary or string), a numeric feature perhaps of numbers already.
    """
    faults: dict[str, list[tuple[np.ndarray, str]]] = {}
    ids = {name: as_text(columns[name]) for name in (PRODUCT_ID, CATEGORY_ID) if name in columns}
    for name, texts in ids.items():
        faults[name] = _id_faults(name, texts)
    numeric = [name for name, kind in features.items() if kind == NUMERIC]
    numbers = np.empty((len(ids[PRODUCT_ID]), len(numeric)))
    for place, name in enumerate(numeric):
        numbers[:, place], faults[name] = _read_numbers(name, columns[name])
    words = [as_text(columns[name]) for name, kind in features.items() if kind != NUMERIC]
    ordered = [fault for name in (*ids, *features) for fault in faults.get(name, ())]
    return Values(ids[PRODUCT_ID], ids.get(CATEGORY_ID), numbers, words, _joined(ordered, len(numbers)))


def as_text(column: pa.Array) -> pa.Array:
    """Return a column as text; what is no UTF-8 in it is replaced by U+FFFD."""
    if pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([None if value is None else value.decode(errors="replace") for value in column.to_pylist()])


def _id_faults(name: str, texts: pa.Array) -> list[tuple[np.ndarray, str]]:
    """Return what is wrong with which ids: of several faults of one, the first counts."""
    missing = _mask(pc.equal(pc.utf8_trim(texts, " "), ""), of_null=True)
    broken = _mask(pc.match_substring(texts, _REPLACED)) & ~missing
    control = _mask(pc.match_substring_regex(texts, _CONTROL)) & ~missing & ~broken
    faults = (missing, f"no {name}"), (broken, f"{name} is not UTF-8"), (control, f"{name} holds a control character")
    return [(mask, reason) for mask, reason in faults if mask.any()]


def _read_numbers(name: str, column: pa.Array) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
    """Return a numeric feature as float64, NaN where it is missing or no number, and what is wrong with it."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers, no_number, infinite = _as_floats(column), np.zeros(len(column), bool), np.zeros(len(column), bool)
    else:
        numbers, no_number, infinite = _parse_numbers(as_text(column))
    infinite = infinite | (np.abs(numbers) > _MAX_FLOAT32)
    faults = (no_number, f"{name} is no number"), (infinite, f"{name} is infinite")
    return numbers, [(mask, reason) for mask, reason in faults if mask.any()]


def _parse_numbers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers, and which texts are none, and which are infinite by name."""
    none = np.zeros(len(texts), bool)
    try:  # of nearly all columns, every text is a plain number
        numbers = _as_floats(texts.cast(pa.float64()))
        if not np.isinf(numbers).any() and np.isnan(numbers).sum() == texts.null_count:
            return numbers, none, none
    except pa.ArrowInvalid:
        pass  # a text is none, or one that Arrow does not take: "+1", " 1", a blank
    given = _mask(pc.not_equal(pc.utf8_trim(texts, " "), ""))
    plain = _mask(pc.match_substring_regex(texts, _NUMBER)) & given
    infinite = _mask(pc.match_substring_regex(texts, _INFINITE)) & given
    numbers = np.full(len(texts), np.nan)
    numbers[plain] = [float(text) for text in texts.filter(pa.array(plain)).to_pylist()]
    return numbers, given & ~plain & ~infinite, infinite


def _as_floats(column: pa.Array) -> np.ndarray:
    numbers: np.ndarray = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _mask(truths: pa.Array, of_null: bool = False) -> np.ndarray:
    mask: np.ndarray = truths.fill_null(of_null).to_numpy(zero_copy_only=False)
    return mask


def _joined(faults: list[tuple[np.ndarray, str]], rows: int) -> pa.Array:
    """Return each row's faults in a text, in their order; null where it has none."""
    texts: list[str | None] = [None] * rows
    for mask, reason in faults:
        for row in np.flatnonzero(mask).tolist():
            texts[row] = reason if texts[row] is None else f"{texts[row]}; {reason}"
    return pa.array(texts, pa.string()) if faults else pa.nulls(rows, pa.string())
