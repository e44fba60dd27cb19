# mypy: disable-error-code="no-untyped-def"
# numba infers the types of what it compiles; the docstrings give them.
"""The character n-grams of texts, by a hash of their letters: looked up where they stand, none a Python string.

All that is compiled for text stands here: numba keeps machine code by the file of the function that is called, and
would not see that another file's has changed.
"""

import re
from collections.abc import Sequence

import numpy as np

from bc4all.model.kernel import compile_cached

SLOT = np.dtype([("key", "<u8"), ("place", "<i8")])
_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)
_LAST_SPACE = 0x3000
SPACES_IN_A_ROW = re.compile(r"\s\s+")  # which scikit-learn takes for one
MIN_WORD_CHARS = 3  # a letter between two spaces: an n-gram of at most as many fits any word


def letters_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return all letters in a row, uint32, and where each text ends, int64."""
    joined = "".join(texts).encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), np.cumsum([len(text) for text in texts], dtype=np.int64)


@compile_cached
def _find(slots, key):
    """Return the slot of a hash, or the free one where it would be."""
    mask = np.uint64(len(slots) - 1)
    at = (key * _MIX) >> np.uint64(20) & mask
    while slots[at].place >= 0 and slots[at].key != key:
        at = (at + np.uint64(1)) & mask
    return at


@compile_cached
def fill(letters, ends, slots):
    """Note each n-gram, letters (all,) uint32 up to ends (n-grams,) int64, by its place."""
    start = 0
    for place in range(len(ends)):
        key = _SEED
        for i in range(start, ends[place]):
            key = (key ^ np.uint64(letters[i])) * _PRIME
        at = _find(slots, key)
        slots[at].key, slots[at].place = key, place
        start = ends[place]


@compile_cached
def _count(letters, first, last, slots, shortest, longest, padded, shaped, counts, met, n):
    """Count the n-grams of letters[first:last], with a space at both ends if `padded`, and their shapes if `shaped`.

    Return how many were met.
    """
    begin, end = (first - 1, last + 1) if padded else (first, last)
    for i in range(begin, end):
        key, shape = _SEED, _SEED
        is_own_shape = shaped
        for size in range(1, min(longest, end - i) + 1):
            j = i + size - 1
            letter = np.uint64(32) if j < first or j == last else np.uint64(letters[j])
            key = (key ^ letter) * _PRIME
            if shaped:
                if np.uint64(49) <= letter <= np.uint64(57):  # 1 to 9, whose shape is 0
                    letter, is_own_shape = np.uint64(48), False
                shape = (shape ^ letter) * _PRIME
            if size < shortest:
                continue
            for form in range(2 if shaped and not is_own_shape else 1):
                place = slots[_find(slots, shape if form else key)].place
                if place < 0:
                    continue
                if counts[place] == 0:
                    met[n] = place
                    n += 1
                counts[place] += 2 if is_own_shape else 1
    return n


@compile_cached
def _is_space(spaces, letter):
    """Whether Python's str.split splits there."""
    if letter <= np.uint32(32):
        return letter == np.uint32(32) or np.uint32(9) <= letter <= np.uint32(13) or letter >= np.uint32(28)
    if letter < np.uint32(0x85) or letter > np.uint32(_LAST_SPACE):
        return False
    return spaces[np.searchsorted(spaces, letter)] == letter


@compile_cached
def decide(letters, ends, spaces, slots, idf, weights, parts, sizes, kinds, room, decision):
    """Add each text's row of n-grams times `weights` to its row of `decision`, (rows, margins) float64.

    parts (n-grams,) uint8: what is scaled together, at most the length of the longest. sizes: of the shortest and the
    longest n-gram. kinds: whether n-grams are those within words, a space before and after each, or else of the text;
    whether each has a shape; whether counts are damped. room: counts (n-grams,) int32, all zero before and after, and
    met (n-grams,) int64.
    """
    (shortest, longest), (within, shaped, sublinear), (counts, met) = sizes, kinds, room
    start = 0
    margins = decision.shape[1]
    norms = np.empty(longest + 1)
    for row in range(len(ends)):
        end, n = ends[row], 0
        at = start
        while at < end:
            first = at
            if within:
                while first < end and _is_space(spaces, letters[first]):
                    first += 1
                at = first
                while at < end and not _is_space(spaces, letters[at]):
                    at += 1
            else:
                at = end
            if at > first:
                n = _count(letters, first, at, slots, shortest, longest, within, shaped, counts, met, n)
        norms[:] = 0.0
        for m in range(n):
            count = counts[met[m]]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[met[m]]
            norms[parts[met[m]]] += share * share
        for part in range(longest + 1):
            norms[part] = np.sqrt(norms[part])
        for m in range(n):
            place = met[m]
            count = counts[place]
            share = ((1.0 + np.log(count)) if sublinear and count > 1 else float(count)) * idf[place]
            share /= norms[parts[place]]
            for margin in range(margins):
                decision[row, margin] += share * weights[place, margin]
            counts[place] = 0
        start = end
