"""A block of CSV records -> the texts of its wanted columns, as Arrow arrays of bytes. What they mean is not asked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from bc4all.reading.records import LENIENT, SOUND, Records, split


class Texts(NamedTuple):
    """The records that have all their fields, in order: a binary array for each wanted column, null where it is empty.

    `records` has each row's place among the block's records.
    """

    columns: list[pa.Array]
    records: np.ndarray


def read_texts(block: bytes, records: Records, fields: int, wanted: Sequence[int]) -> Texts:
    """Return the columns with the numbers `wanted` of the sound and lenient records of a block."""
    sound, lenient = (np.flatnonzero(records.states == state) for state in (SOUND, LENIENT))
    parsed = _parsed(_together(block, records, sound), len(sound), fields, wanted) if len(sound) else None
    if parsed is None:  # what Arrow reads in another way than expected is read as the rest is
        lenient = np.sort(np.concatenate([sound, lenient]))
    rows = [split(block[records.starts[at] : records.ends[at]]) or [] for at in lenient.tolist()]
    taken = [pa.array([row[number] or None for row in rows], pa.binary()) for number in wanted]
    if parsed is None:
        return Texts(taken, lenient)
    if not len(lenient):
        return Texts(parsed, sound)
    places = np.concatenate([sound, lenient])
    order = np.argsort(places)
    columns = [pa.concat_arrays(parts).take(pa.array(order)) for parts in zip(parsed, taken, strict=True)]
    return Texts(columns, places[order])


def _together(block: bytes, records: Records, chosen: np.ndarray) -> bytes:
    """Return the chosen records with a line break after each, whatever lies between them left out.

    The line break before the first keeps pyarrow from taking a byte order mark off it.
    """
    starts, ends = records.starts[chosen], records.ends[chosen]
    gaps = np.flatnonzero(starts[1:] - ends[:-1] > 2)  # more than a line break: other records, or blank lines
    first, last = starts[np.append(0, gaps + 1)], ends[np.append(gaps, len(ends) - 1)]
    runs = (block[start:end] for start, end in zip(first.tolist(), last.tolist(), strict=True))
    return b"\n".join([b"", *runs, b""])


def _parsed(text: bytes, count: int, fields: int, wanted: Sequence[int]) -> list[pa.Array] | None:
    names = [str(number) for number in wanted]
    reading = csv.ReadOptions(
        use_threads=False,  # a worker has one core
        block_size=len(text) + 1,  # no record lies in two blocks
        column_names=[str(number) for number in range(fields)],
    )
    conversion = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.binary()),
        include_columns=names,
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,
    )
    try:
        table = csv.read_csv(pa.BufferReader(text), reading, csv.ParseOptions(newlines_in_values=True), conversion)
    except pa.ArrowInvalid:
        return None
    return [column.combine_chunks() for column in table.columns] if table.num_rows == count else None
