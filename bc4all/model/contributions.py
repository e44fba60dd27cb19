"""A text's score, letter by letter: what each letter adds to each category's margin, exactly.

A linear model adds up the weights of a text's n-grams; here each weight is shared out evenly among the letters that the
n-gram covers. A softmax orders categories by their margins and does not change when all of a row's rise alike, so that
margins are given as their difference from the mean of all categories.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bc4all.model.features import joined
from bc4all.model.linear_text import LinearText, Vocabulary
from bc4all.model.ngrams import NGrams, place_of
from bc4all.model.text import shape_of

_Occurrence = tuple[str, int, int]  # an n-gram, and the letters that it covers, from and up to


@dataclass(frozen=True, eq=False)
class Contributions:
    """One text as the model reads it, and what each of its letters adds to the margins, float64 (letters, classes)."""

    text: str
    letters: np.ndarray


def contributions(model: LinearText, X: pd.DataFrame) -> tuple[list[Contributions], np.ndarray]:
    """Return those of each text of the one row of X, and what does not come of a letter, float64 (classes,).

    All of them together are the margins whose softmax the probabilities are, but for their mean. What several columns
    say as one text is a text of its own.
    """
    rest = model.start(X)
    shares = []
    for vocabulary in model.vocabularies:
        columns = X[list(vocabulary.columns)]
        (text,) = joined(columns) if len(vocabulary.columns) > 1 else columns.iloc[:, 0]
        (read,) = vocabulary.ngrams.read([text])
        letters, beside = _shared_out(vocabulary, read)
        shares.append(Contributions(read, _centred(model.sided(letters))))
        rest = rest + beside
    return shares, _centred(model.sided(rest))[0]


def _centred(margins: np.ndarray) -> np.ndarray:
    return np.asarray(margins - margins.mean(axis=1, keepdims=True))


def _shared_out(vocabulary: Vocabulary, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what each letter adds (letters, margins), and what n-grams without a letter do (margins,)."""
    places: dict[int, list[_Occurrence]] = defaultdict(list)
    for occurrence in _occurrences(vocabulary.ngrams, text):
        place = place_of(vocabulary.slots, occurrence[0])
        if place >= 0:
            places[place].append(occurrence)
    values = {place: vocabulary.value(place, len(found)) for place, found in places.items()}
    squares: dict[int, float] = defaultdict(float)
    for place, value in values.items():
        squares[int(vocabulary.parts[place])] += value * value
    margins = vocabulary.weights.shape[1]
    letters, beside = np.zeros((len(text), margins)), np.zeros(margins)
    for place, found in places.items():
        norm = float(np.sqrt(squares[int(vocabulary.parts[place])]))
        added = values[place] / norm / len(found) * vocabulary.weights[place].astype(np.float64)
        for _, first, last in found:
            if first < last:
                letters[first:last] += added / (last - first)
            else:
                beside += added
    return letters, beside


def _occurrences(ngrams: NGrams, text: str) -> Iterator[_Occurrence]:
    """Yield each n-gram of a text, and each one's shape, as often as it counts."""
    for first, last in word_places(text) if ngrams.within_words else [(0, len(text))]:
        edge = 1 if ngrams.within_words else 0  # a space before and after each word
        padded = f"{' ' * edge}{text[first:last]}{' ' * edge}"
        for start in range(len(padded)):
            for size in range(ngrams.shortest, min(ngrams.longest, len(padded) - start) + 1):
                term, at = padded[start : start + size], first - edge + start
                covered = max(at, first), min(at + size, last)
                yield term, *covered
                if ngrams.shaped:
                    yield shape_of(term), *covered


def word_places(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word of a text begins and ends."""
    end = 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        yield start, end
