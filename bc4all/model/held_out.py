"""Which products are held out: a tenth, that no model has learned from which is judged by it.

A product that was held out once is so for as long as it exists, and one that was learned from stays learned from: a
version and its champion are then compared on rows that neither knows, and those stand for the whole catalogue, not for
what is new in it.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bc4all.kinds import TEXT, Features
from bc4all.model.features import Matrix
from bc4all.model.training_set import TrainingSet

# The split of the system that this one replaces, so that figures compare.
TEST_SIZE = 0.1
SPLIT_SEED = 1234
_ONE_IN = 10  # new products
_FEW = 10  # rows that say the same: more are no twins, but all that their texts tell
_SALT = np.uint64(SPLIT_SEED * 0x9E3779B97F4A7C15 % 2**64)
_SPLITMIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_UNSAID = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Sides:
    """The products that a version was fitted on, and those held out from it: hashes of their ids, int64.

    `held_out` is None of a version that was registered before they were kept.
    """

    learned: np.ndarray
    held_out: np.ndarray | None

    def stored(self) -> np.ndarray:
        """Return int64 (products, 2): each one's hash, and whether it was held out."""
        held_out = np.zeros(0, dtype=np.int64) if self.held_out is None else self.held_out
        ids = np.concatenate([self.learned, held_out])
        return np.stack([ids, np.arange(len(ids)) >= len(self.learned)], axis=1)

    @classmethod
    def read(cls, stored: np.ndarray) -> "Sides":
        """Return what was `stored`, of versions of before the learned products alone. Raises ValueError for others."""
        if stored.dtype == np.int64 and stored.ndim == 1:
            return cls(stored, None)
        if stored.dtype != np.int64 or stored.ndim != 2 or stored.shape[1] != 2:
            raise ValueError(f"{stored.dtype} of shape {stored.shape} are not what was held out")
        ids, held_out = stored[:, 0], stored[:, 1] != 0
        return cls(ids[~held_out], ids[held_out])


def split(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the rows to train on and of those held out: scikit-learn's `train_test_split`, seed 1234.

    A category keeps at least one row in the training part: its first one moves back if all of them were held out.
    """
    from sklearn.model_selection import train_test_split

    drawn = train_test_split(np.arange(len(codes)), test_size=TEST_SIZE, random_state=SPLIT_SEED)
    return _with_every_category(codes, *drawn)


def hold_out(data: TrainingSet, features: Features, before: Sides | None = None) -> tuple[np.ndarray, np.ndarray]:
    """As `split`, and where there are `before` those of the champion: each product that it knows on its side.

    Of new ones, those that say the same as a few others stand with them, and of the rest one in ten is held out, by a
    hash of its id. Of a champion whose held-out products are not known, nothing is taken over: the split is the first.
    """
    training, held_out = split(data.codes)
    if before is None or before.held_out is None:
        return training, held_out
    apart = _as_before(data, features, before.learned, before.held_out)
    if np.array_equal(apart, np.sort(held_out)):  # the data is what it was at first: so is the order
        return training, held_out
    return _with_every_category(data.codes, np.setdiff1d(np.arange(len(data.codes)), apart), apart)


def _as_before(data: TrainingSet, features: Features, learned: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the places of the rows that are held out, in order."""
    apart, hashes = np.isin(data.ids, held_out), _mixed(data.ids)
    new = ~(apart | np.isin(data.ids, learned))
    drawn = np.where(new, hashes % np.uint64(_ONE_IN) == 0, apart)
    # A group is where its first row is, by hash, of those that are known if any is: as often held out as a single row.
    groups = _same(data.X, features)
    order = np.lexsort((hashes, new, groups))
    first = order[np.unique(groups[order], return_index=True)[1]]
    apart[new] = drawn[first][groups[new]]
    return np.flatnonzero(apart)


def _same(X: Matrix, features: Features) -> np.ndarray:
    """Return a number for each row, from 0 on, equal where letters and digits of texts, and all other features, are.

    Rows without any text, or that are like more than a few others, are like none.
    """
    rows = len(X)
    if TEXT not in features.values():
        return np.arange(rows)
    columns = [
        [_UNSAID.sub("", text.casefold()) for text in X[name]] if kind == TEXT else X[name].tolist()
        for name, kind in features.items()
    ]
    texts = [column for column, kind in zip(columns, features.values(), strict=True) if kind == TEXT]
    keys = pd.Series(["\0".join(map(str, row)) for row in zip(*columns, strict=True)])
    silent = ~np.array([any(row) for row in zip(*texts, strict=True)])
    alone = silent | (keys.map(keys.value_counts()).to_numpy() > _FEW)
    keys[alone] = np.flatnonzero(alone)  # numbers are no texts
    return np.asarray(pd.factorize(keys)[0])


def distinct_rows(X: Matrix, features: Features) -> int:
    """Return how many rows say something of their own: variants of a product count once."""
    return len(np.unique(_same(X, features)))


def _mixed(ids: np.ndarray) -> np.ndarray:
    """Return uint64 that tell nothing of the ids but which are equal (Steele, Lea and Flood, SplitMix, 2014)."""
    mixed = ids.view(np.uint64) + _SALT
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _SPLITMIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SPLITMIX[1]
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _with_every_category(
    codes: np.ndarray, training: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    unseen = np.setdiff1d(codes[held_out], codes[training])
    places = np.sort(held_out)
    back = [places[codes[places] == code][0] for code in unseen]
    return np.concatenate([training, np.array(back, dtype=training.dtype)]), held_out[~np.isin(held_out, back)]
