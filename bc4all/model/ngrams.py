# mypy: disable-error-code="no-untyped-def"
# numba infers the types of what it compiles; the docstrings give them.
"""The character n-grams of texts, by a hash of their letters: looked up where they stand, none a Python string.

All that is compiled for text stands here: numba keeps machine code by the file of the function that is called, and
would not see that another file's has changed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bc4all.model.kernel import compile_cached

_SLOT = np.dtype([("key", "<u8"), ("place", "<i8")])
_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)
_LAST_SPACE = 0x3000
_SPACES_IN_A_ROW = re.compile(r"\s\s+")  # which scikit-learn takes for one
_MOST_LETTERS = 10_000  # of a text that count: what names a product stands before, and room is made for each
_MIN_WORD_CHARS = 3  # a letter between two spaces: an n-gram of at most as many fits any word


@dataclass(frozen=True)
class NGrams:
    """Which n-grams of a text count: of how many characters, and of what."""

    shortest: int
    longest: int
    within_words: bool  # those of words with a space at both ends, else of the text as a whole
    shaped: bool  # each beside its shape, by TitleVectorizer
    lowercase: bool

    @classmethod
    def of(cls, vectorizer: Any) -> "NGrams | None":
        """Return those of a TextVectorizer; None where they are of a kind that is not found here."""
        plain = vectorizer.strip_accents is None and vectorizer.preprocessor is None and vectorizer.input == "content"
        (shortest, longest), analyzer = vectorizer.ngram_range, vectorizer.analyzer
        if not plain or analyzer not in ("char", "char_wb") or shortest > _MIN_WORD_CHARS:
            return None
        return cls(shortest, longest, analyzer == "char_wb", vectorizer.shaped, vectorizer.lowercase)

    @property
    def sizes(self) -> tuple[int, int]:
        """As compiled functions take them."""
        return self.shortest, self.longest

    def letters(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return all letters in a row, uint32, and where each text ends, int64; of a long text the first ones alone."""
        return _letters(self.read(texts))

    def read(self, texts: Sequence[str]) -> Sequence[str]:
        """Return what of texts counts, as it counts."""
        texts = [text[:_MOST_LETTERS].lower() if self.lowercase else text[:_MOST_LETTERS] for text in texts]
        return texts if self.within_words else [_SPACES_IN_A_ROW.sub(" ", text) for text in texts]

    def count(
        self, texts: Sequence[str], known: Sequence[str] | None = None
    ) -> tuple[Sequence[str], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return the n-grams that count, all that are met unless some are `known`, and how often each text has them.

        That is what a sparse matrix (texts, n-grams) is made of: counts int32, indices int32, indptr int64.
        """
        learns = known is None
        room = 1 if learns else 0
        slots, taken = slots_of(known or ()), np.zeros(1, dtype=np.int64)
        counts, met = (np.zeros(max(len(known or ()), 1), dtype=kind) for kind in (np.int32, np.int64))
        table = slots, np.zeros((room, self.longest), dtype=np.uint32), taken
        kinds = self.within_words, self.shaped
        stored, indptr, found = count_all(*self.letters(texts), SPACES, table, self.sizes, kinds, (counts, met))
        return (_terms(found) if learns else known or ()), (stored[1], stored[0], indptr)


def slots_of(terms: Sequence[str]) -> np.ndarray:
    """Return a table in which n-grams are found by their hash, each with its place among `terms`."""
    slots = np.zeros(1 << int(2 * max(len(terms), 1) - 1).bit_length(), dtype=_SLOT)
    slots["place"] = -1
    _fill(*_letters(terms), slots)
    return slots


def place_of(slots: np.ndarray, term: str) -> int:
    """Return the place of one n-gram in a table of `slots_of`; -1 where it is not there."""
    alone = slots_of([term])
    (key,) = alone["key"][alone["place"] >= 0]
    return int(slots[_find(slots, key)]["place"])


def _letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    joined = "".join(texts).encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), np.cumsum([len(text) for text in texts], dtype=np.int64)


def _terms(letters: np.ndarray) -> list[str]:
    """Return the n-grams of rows (n-grams, longest) of letters, each one more than its code, 0 after the last."""
    joined = (letters[letters > 0] - np.uint32(1)).tobytes().decode("utf-32-le", errors="surrogatepass")
    ends = np.cumsum((letters > 0).sum(axis=1)).tolist()
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@compile_cached
def _find(slots, key):
    """Return the slot of a hash, or the free one where it would be."""
    mask = np.uint64(len(slots) - 1)
    at = (key * _MIX) >> np.uint64(20) & mask
    while slots[at].place >= 0 and slots[at].key != key:
        at = (at + np.uint64(1)) & mask
    return at


@compile_cached
def _fill(letters, ends, slots):
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
def _learn(table, at, key, letters, first, last, begin, size, form):
    """Give a hash that is not in the table the next place, which is returned, and note its letters, or their shape."""
    slots, terms, taken = table
    place = taken[0]
    taken[0] += 1
    slots[at].key, slots[at].place = key, place
    for k in range(size):
        j = begin + k
        letter = np.uint32(32) if j < first or j == last else letters[j]
        if form and np.uint32(49) <= letter <= np.uint32(57):
            letter = np.uint32(48)
        terms[place, k] = letter + np.uint32(1)
    return place


@compile_cached
def _count(letters, first, last, table, sizes, kinds, room, n):
    """Count the n-grams of letters[first:last], one word with a space at both ends if it is `within` one.

    All is as in `_count_text`; `n` were met before, and how many by now is returned.
    """
    (slots, terms, _), (shortest, longest), (padded, shaped), (counts, met) = table, sizes, kinds, room
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
                met_as = shape if form else key
                at = _find(slots, met_as)
                place = slots[at].place
                if place < 0:
                    if len(terms) == 0:
                        continue
                    place = _learn(table, at, met_as, letters, first, last, i, size, form)
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
def _count_text(letters, start, end, spaces, table, sizes, kinds, room):
    """Count the n-grams of letters[start:end], and return how many were met.

    table: slots; terms uint32 (n-grams, longest), with as many rows as may be learned, none where those that are not in
    slots do not count; how many are known int64 (1,). sizes: of the shortest and the longest n-gram. kinds: whether
    n-grams are those within words, a space before and after each, or else of the text; whether each has a shape. room:
    counts int32 (n-grams,), all zero before, and met int64 (n-grams,), the places of those that are not zero after.
    """
    n, at = 0, start
    while at < end:
        first = at
        if kinds[0]:
            while first < end and _is_space(spaces, letters[first]):
                first += 1
            at = first
            while at < end and not _is_space(spaces, letters[at]):
                at += 1
        else:
            at = end
        if at > first:
            n = _count(letters, first, at, table, sizes, kinds, room, n)
    return n


@compile_cached
def _with_room(table, room, more):
    """Return table and room, larger where they might not hold so many n-grams more."""
    (slots, terms, taken), (counts, met) = table, room
    most = int(taken[0]) + more
    if most > len(terms):
        larger = np.zeros((2 * most, terms.shape[1]), dtype=terms.dtype)
        larger[: len(terms)] = terms
        terms, counts, met = larger, np.zeros(2 * most, dtype=counts.dtype), np.empty(2 * most, dtype=met.dtype)
    length = len(slots)
    while length < 2 * most:
        length *= 2
    if length > len(slots):
        larger_slots = np.empty(length, dtype=slots.dtype)
        for at in range(length):
            larger_slots[at].key, larger_slots[at].place = np.uint64(0), -1
        for before in slots:
            if before.place >= 0:
                at = _find(larger_slots, before.key)
                larger_slots[at].key, larger_slots[at].place = before.key, before.place
        slots = larger_slots
    return (slots, terms, taken), (counts, met)


@compile_cached
def count_all(letters, ends, spaces, table, sizes, kinds, room):
    """Count the n-grams of texts, letters (all,) uint32 up to ends (texts,) int64; the rest is as in `_count_text`.

    Returns what a sparse matrix is made of, indices and counts int32 (2, stored), and where each text's end, int64
    (texts + 1,); and the terms. With some room for terms there will be more where it is needed.
    """
    learns = len(table[1]) > 0
    indptr = np.zeros(len(ends) + 1, dtype=np.int64)
    stored = np.empty((2, 1024), dtype=np.int32)
    start = total = 0
    for row in range(len(ends)):
        end = ends[row]
        if learns:  # a letter between spaces begins as many n-grams as three of a text, each with its shape
            table, room = _with_room(table, room, 2 * sizes[1] * (3 * (end - start) + 2))
        n = _count_text(letters, start, end, spaces, table, sizes, kinds, room)
        counts, met = room
        if total + n > stored.shape[1]:
            larger = np.empty((2, 2 * (total + n)), dtype=np.int32)
            larger[:, :total] = stored[:, :total]
            stored = larger
        for m in range(n):
            stored[0, total], stored[1, total] = met[m], counts[met[m]]
            counts[met[m]] = 0
            total += 1
        indptr[row + 1] = total
        start = end
    return stored[:, :total], indptr, table[1][: table[2][0]]


@compile_cached
def decide(letters, ends, spaces, slots, idf, weights, parts, sizes, kinds, room, decision):
    """Add each text's row of n-grams times `weights` to its row of `decision`, (rows, margins) float64.

    parts (n-grams,) uint8: what is scaled together, at most the length of the longest. sizes: of the shortest and the
    longest n-gram. kinds: whether n-grams are those within words, a space before and after each, or else of the text;
    whether each has a shape; whether counts are damped. room: counts (n-grams,) int32, all zero before and after, and
    met (n-grams,) int64.
    """
    (_, longest), (within, shaped, sublinear), (counts, met) = sizes, kinds, room
    table = slots, np.empty((0, longest), dtype=np.uint32), np.zeros(1, dtype=np.int64)  # none are learned
    start = 0
    margins = decision.shape[1]
    norms = np.empty(longest + 1)
    for row in range(len(ends)):
        end = ends[row]
        n = _count_text(letters, start, end, spaces, table, sizes, (within, shaped), room)
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
