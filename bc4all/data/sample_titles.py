"""Made-up titles in categories that are paths, as in a shop's catalogue: brands, nouns, series, colours and sizes.

Some titles leave out what would tell their category, some name another one's, so that no model can be perfect.
"""

from collections.abc import Sequence

import numpy as np

_SEPARATOR = " > "
_CATEGORIES_A_GROUP, _GROUPS_A_DEPARTMENT = 8, 6
_BRANDS, _COMMON_BRANDS, _SERIES = 12, 5, 3  # of a department, of all, of a category
_COLOURS, _UNITS = 12, ("cm", "l", "gb", "w", "inch", "kg")
_STARTS, _VOWELS, _ENDS = list("bdfghjklmnprstvwz"), list("aeiou"), ["", "n", "r", "s", "l", "x"]
# How often a title has each of its parts.
_BRAND, _NOUN, _GROUP_NOUN, _MODEL, _COLOUR, _SIZE = 0.95, 0.8, 0.35, 0.65, 0.5, 0.4
_OF_ANOTHER = 0.03  # of nouns: a case for a phone is no phone


class Catalogue:
    """A shop's categories, and what its titles are made of."""

    def __init__(self, categories: int, rng: np.random.Generator) -> None:
        """`labels` (categories,) are paths of a department, a group and a category; neighbours share a group."""
        self._groups = np.arange(categories) // _CATEGORIES_A_GROUP
        self._departments = self._groups // _GROUPS_A_DEPARTMENT
        groups, departments = self._groups[-1] + 1, self._departments[-1] + 1
        words = _words(categories + groups + departments * (1 + _BRANDS) + _COMMON_BRANDS + _COLOURS, rng)
        ends = np.cumsum([categories, groups, departments, departments * _BRANDS, _COMMON_BRANDS])
        self._nouns, self._group_nouns, names, brands, common, self._colours = np.split(words, ends)
        every = np.tile(common, (departments, 1))
        self._brands = np.hstack([brands.reshape(departments, _BRANDS), every])
        letters = np.array(list("abcdefghkmnprstvwx"))
        self._series = np.array(["".join(row) for row in rng.choice(letters, (categories * _SERIES, 3))], dtype=object)
        above = zip(names[self._departments], self._group_nouns[self._groups], self._nouns, strict=True)
        self.labels = np.array([_SEPARATOR.join(word.capitalize() for word in path) for path in above], dtype=object)

    def titles(self, codes: np.ndarray, rng: np.random.Generator) -> list[str]:
        """Return a title for each product of these categories, int (products,)."""
        rows = len(codes)

        def some(words: np.ndarray, share: float) -> np.ndarray:
            return np.where(rng.random(rows) < share, words, "")

        departments = self._departments[codes]
        near = self._groups[codes] * _CATEGORIES_A_GROUP + rng.integers(0, _CATEGORIES_A_GROUP, rows)
        named = np.where(rng.random(rows) < _OF_ANOTHER, np.minimum(near, len(self.labels) - 1), codes)
        series = self._series[codes * _SERIES + rng.integers(0, _SERIES, rows)]
        numbers = rng.integers(10, 1000, rows).astype(str).astype(object)
        sizes = rng.integers(1, 100, rows).astype(str).astype(object)
        parts = [
            some(self._brands[departments, rng.integers(0, self._brands.shape[1], rows)], _BRAND),
            some(series + np.where(rng.random(rows) < 0.5, "", " ") + numbers, _MODEL),
            some(self._group_nouns[self._groups[codes]], _GROUP_NOUN),
            some(self._nouns[named], _NOUN),
            some(rng.choice(self._colours, rows), _COLOUR),
            some(sizes + " " + rng.choice(np.array(_UNITS, dtype=object), rows), _SIZE),
        ]
        made = (" ".join(filter(None, row)) for row in zip(*parts, strict=True))
        return [title or noun for title, noun in zip(made, self._nouns[codes], strict=True)]


def _words(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return so many words, str (count,), no two alike."""
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = [_syllables(count, rng) for _ in range(3)]
        lengths = rng.integers(2, 4, count)
        found |= dict.fromkeys(
            "".join(row[:length]) for row, length in zip(zip(*syllables, strict=True), lengths, strict=True)
        )
    return np.array(list(found)[:count], dtype=object)


def _syllables(count: int, rng: np.random.Generator) -> Sequence[str]:
    parts = (rng.choice(letters, count) for letters in (_STARTS, _VOWELS, _ENDS))
    return ["".join(syllable) for syllable in zip(*parts, strict=True)]
