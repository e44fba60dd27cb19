"""Where the records of a CSV file begin and end, and how each is to be read, found in its bytes without a parser.

A record is a line, as RFC 4180 has it, or goes over several where a quoted field holds line breaks; "\\n", "\\r\\n" and
"\\r" all end a line. A quote that is never closed would swallow what follows: it costs its own line alone. Whatever the
bytes hold, the cost is linear in them.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MAX_RECORD_BYTES = 1 << 22  # a quoted field that is not closed within it counts as never closed

# As RFC 4180 says; with a field that goes on after its closing quote, and is taken as it stands; not to be read;
# nothing but commas, which spreadsheets leave behind a table.
SOUND, LENIENT, MALFORMED, EMPTY = range(4)

ESCAPED_QUOTE = b'\\"'  # as some write a quote; RFC 4180 doubles it
_LF, _CR, _QUOTE, _COMMA = b'\n\r",'
_OPEN, _BROKEN = -1, -2  # in place of a record's end
_WHITE = 32  # the largest byte that may be white space
_QUOTED = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"')
_PLAIN = re.compile(rb"[^,\r\n]*+")


class Records(NamedTuple):
    """The records of a block, blank lines apart, in order: arrays of one length."""

    starts: np.ndarray  # int64: where its first byte is
    ends: np.ndarray  # int64: where its line break is
    states: np.ndarray  # uint8: SOUND, LENIENT, MALFORMED or EMPTY
    lines: np.ndarray  # int64: how many lines it takes, blank ones apart


class Shape(NamedTuple):
    """What a file's records are like: their number of fields, and which of those over several lines are none."""

    fields: int
    is_torn: Callable[[list[bytes]], bool]


class _Lines(NamedTuple):
    """The lines of a block that end in it: arrays of one length. What begins at `rest` is no whole line yet."""

    starts: np.ndarray
    ends: np.ndarray
    rest: int


def find_records(block: bytes, shape: Shape, is_last: bool) -> tuple[Records, int]:
    """Return the whole records of a block, which begins with one, and the number of bytes that they take.

    What is left over belongs in front of the next block; after the last block, nothing is left.
    """
    octets = np.frombuffer(block, dtype=np.uint8)
    lines = _find_lines(octets, is_last)
    quotes = np.flatnonzero(octets[: lines.rest] == _QUOTE)
    quotes, irregular = _pair_quotes(octets, lines, quotes) if len(quotes) else (quotes, quotes)
    special, last_lines, cut = _read_irregular(block, shape, is_last, lines, irregular)
    if cut is not None:
        lines = _Lines(lines.starts[:cut], lines.ends[:cut], int(lines.starts[cut]))
    states = _states(octets, lines, quotes, shape.fields)
    for line, state in special.items():
        states[line] = state
    return _joined(block, octets, lines, states, last_lines), lines.rest


def _find_lines(octets: np.ndarray, is_last: bool) -> _Lines:
    breaks = np.flatnonzero((octets == _LF) | (octets == _CR))
    follows_cr = (octets[breaks] == _LF) & (breaks > 0) & (octets[breaks - 1] == _CR)
    ends = breaks[~follows_cr]
    precedes_lf = (octets[ends] == _CR) & (octets[np.minimum(ends + 1, len(octets) - 1)] == _LF)
    nexts = ends + 1 + precedes_lf
    if len(ends) and ends[-1] == len(octets) - 1 and octets[-1] == _CR and not is_last:
        ends, nexts = ends[:-1], nexts[:-1]  # the first half of "\r\n", perhaps
    starts = np.concatenate([[0], nexts]).astype(np.int64)
    rest = int(starts[-1])
    if is_last and rest < len(octets):
        return _Lines(starts, np.append(ends, len(octets)), len(octets))
    return _Lines(starts[:-1], ends, rest)


def _pair_quotes(octets: np.ndarray, lines: _Lines, quotes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the quotes of lines that have a quoted field, and the lines whose quotes are not in pairs as they must be.

    Where no field begins with a quote, quotes are letters like others.
    """
    at = np.searchsorted(lines.starts, quotes, side="right") - 1
    opens = (quotes == lines.starts[at]) | (octets[quotes - 1] == _COMMA)
    has_field = np.zeros(len(lines.starts), dtype=bool)
    has_field[at[opens]] = True
    kept = has_field[at]
    quotes, at, opens = quotes[kept], at[kept], opens[kept]
    closes = (quotes + 1 == lines.ends[at]) | (octets[np.minimum(quotes + 1, len(octets) - 1)] == _COMMA)
    rank = np.arange(len(quotes)) - np.searchsorted(at, at)
    adjacent = np.append(np.diff(quotes) == 1, False)  # to the next one: two that stand for one
    after_one = np.append(False, adjacent[:-1])
    sound = np.where(rank % 2 == 0, opens | after_one, closes | adjacent)
    counts = np.bincount(at, minlength=len(lines.starts))
    return quotes, np.unique(np.concatenate([at[~sound], np.flatnonzero(counts % 2)]))


def _read_irregular(
    block: bytes, shape: Shape, is_last: bool, lines: _Lines, irregular: np.ndarray
) -> tuple[dict[int, int], dict[int, int], int | None]:
    """Return the states of lines, the last line of records over several, and the line that wants the next block."""
    special: dict[int, int] = {}
    last_lines: dict[int, int] = {}
    dead_ends: dict[int, int] = {}
    done = -1
    for line in irregular.tolist():
        if line <= done:
            continue
        start, end = int(lines.starts[line]), int(lines.ends[line])
        stop = _end_of_record(block, start, dead_ends)
        last = int(np.searchsorted(lines.ends, stop)) if stop >= 0 else line
        is_open = stop == _OPEN or last == len(lines.ends)
        if is_open and not is_last and len(block) - start < MAX_RECORD_BYTES:
            return special, last_lines, line
        done = line
        if line < last < len(lines.ends) and stop - start <= MAX_RECORD_BYTES:
            done = last
            fields = split(block[start:stop])
            if fields and len(fields) == shape.fields and not shape.is_torn(fields):
                last_lines[line] = last
                special[line] = SOUND
            else:
                special |= _torn(block, shape, lines, line, last)
        else:
            special[line] = _state(block[start:end], shape, is_strict=stop == end)
    return special, last_lines, None


def _end_of_record(block: bytes, start: int, dead_ends: dict[int, int]) -> int:
    """Return where the record that begins at `start` ends by RFC 4180: at a line break, or with the block.

    _OPEN where the block ends inside quotes, _BROKEN where a field goes on after its closing quote. `dead_ends` keeps,
    for each quote that led to either, to which: no quote is followed twice.
    """
    opened = []
    while True:
        if block[start : start + 1] != b'"':
            stop = _PLAIN.match(block, start).end()  # type: ignore[union-attr] # it matches the empty field, too
        elif start in dead_ends:
            stop = dead_ends[start]
        else:
            opened.append(start)
            quoted = _QUOTED.match(block, start)
            stop = quoted.end() if quoted else _OPEN
            if quoted and block[stop : stop + 1] not in (b"", b",", b"\r", b"\n"):
                stop = _BROKEN
        if stop < 0:
            dead_ends.update(dict.fromkeys(opened, stop))
            return stop
        if block[stop : stop + 1] != b",":
            return stop
        start = stop + 1


def _torn(block: bytes, shape: Shape, lines: _Lines, first: int, last: int) -> dict[int, int]:
    """Return the states of the lines of a torn record: one with half of a pair of quotes is a piece of a field."""
    states = {}
    for line in range(first, last + 1):
        record = block[lines.starts[line] : lines.ends[line]]
        quotes = record.count(b'"')
        if quotes % 2:
            states[line] = MALFORMED
        elif quotes:
            states[line] = _state(record, shape, is_strict=_end_of_record(record, 0, {}) == len(record))
    return states


def _state(record: bytes, shape: Shape, is_strict: bool) -> int:
    fields = split(record)
    if fields is None or len(fields) != shape.fields or len(record) > MAX_RECORD_BYTES:
        return MALFORMED
    if is_strict:
        return SOUND
    return MALFORMED if ESCAPED_QUOTE in record else LENIENT


def split(record: bytes) -> list[bytes] | None:
    """Return the fields of a record; None where a quote is not closed.

    A field that goes on after its closing quote is taken as it stands, quotes and all, up to the next comma.
    """
    fields: list[bytes] = []
    at = 0
    while True:
        quoted = _QUOTED.match(record, at)
        if quoted is None and record[at : at + 1] == b'"':
            return None
        end = quoted.end() if quoted else at
        if quoted and (end == len(record) or record[end] == _COMMA):
            fields.append(record[at + 1 : end - 1].replace(b'""', b'"'))
        else:
            end = record.find(b",", end)
            end = len(record) if end < 0 else end
            fields.append(record[at:end])
        if end == len(record):
            return fields
        at = end + 1


def _states(octets: np.ndarray, lines: _Lines, quotes: np.ndarray, fields: int) -> np.ndarray:
    """Return the state of each line by its commas outside of quotes."""
    commas = np.flatnonzero(octets[: lines.rest] == _COMMA)
    if len(quotes):
        at = np.searchsorted(lines.starts, commas, side="right") - 1
        before = np.searchsorted(quotes, commas) - np.searchsorted(quotes, lines.starts)[at]
        commas = commas[before % 2 == 0]
    counts = np.searchsorted(commas, lines.ends) - np.searchsorted(commas, lines.starts)
    states = np.where(counts == fields - 1, SOUND, MALFORMED).astype(np.uint8)
    states[lines.ends - lines.starts > MAX_RECORD_BYTES] = MALFORMED
    states[(counts == lines.ends - lines.starts) & (counts > 0)] = EMPTY
    return states


def _joined(block: bytes, octets: np.ndarray, lines: _Lines, states: np.ndarray, last_lines: dict[int, int]) -> Records:
    """Return the lines that are not blank as records, those of one record joined."""
    has_text = lines.ends > lines.starts
    first = octets[np.minimum(lines.starts, len(octets) - 1)] if len(octets) else octets
    for line in np.flatnonzero(has_text & (first <= _WHITE)).tolist():
        has_text[line] = bool(block[lines.starts[line] : lines.ends[line]].strip())
    ends, counts, begins = lines.ends.copy(), has_text.astype(np.int64), has_text.copy()
    for line, last in last_lines.items():
        ends[line] = lines.ends[last]
        counts[line] = has_text[line : last + 1].sum()
        begins[line : last + 1] = False
        begins[line] = True
    return Records(lines.starts[begins], ends[begins], states[begins], counts[begins])
