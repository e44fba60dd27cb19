"""A client's labelled products in memory, and which of them are held out."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bc4all.model.features import Matrix

# The split of the system that this one replaces, so that figures compare.
TEST_SIZE = 0.1
SPLIT_SEED = 1234
MIN_COMPARED_ROWS = 30  # on fewer, two versions are not compared


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows in file order.

    X (rows, features) of `model_input`; codes int32 (rows,): each row's place in `names`, the sorted categories; ids
    int64 (rows,): hashes of the products' ids.
    """

    X: Matrix
    codes: np.ndarray
    names: np.ndarray
    ids: np.ndarray

    def labels(self, places: np.ndarray) -> np.ndarray:
        """Return the category names of some rows."""
        return np.asarray(self.names[self.codes[places]])

    @property
    def sha256(self) -> str:
        """The digest of values and labels, in order: equal data has an equal digest, whatever the file format."""
        content = hashlib.sha256()
        for part in [self.X[name] for name in self.X] if isinstance(self.X, pd.DataFrame) else [self.X]:
            content.update("\0".join(part).encode() if part.dtype == object else np.asarray(part).tobytes())
        content.update(self.codes.tobytes())
        content.update("\0".join(self.names).encode())
        return content.hexdigest()


def split(codes: np.ndarray, learned: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the rows to train on and of those held out: scikit-learn's `train_test_split`, seed 1234.

    With `learned` (rows,), whether the champion was fitted on a row, as many are drawn from those that it was not
    fitted on: what was held out then is so now, or the two could not be compared. A category keeps at least one row in
    the training part: its first one moves back if all of them were held out.
    """
    from sklearn.model_selection import train_test_split

    drawn = train_test_split(np.arange(len(codes)), test_size=TEST_SIZE, random_state=SPLIT_SEED)
    training, held_out = _with_every_category(codes, *drawn)
    new = np.flatnonzero(~learned) if learned is not None else np.zeros(0, dtype=int)
    if len(new) < MIN_COMPARED_ROWS or np.array_equal(new, np.sort(held_out)):  # equal: the data has not changed since
        return training, held_out
    held_out = np.random.default_rng(SPLIT_SEED).permutation(new)[: len(held_out)]
    return _with_every_category(codes, np.setdiff1d(np.arange(len(codes)), held_out), held_out)


def _with_every_category(
    codes: np.ndarray, training: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    unseen = np.setdiff1d(codes[held_out], codes[training])
    places = np.sort(held_out)
    back = [places[codes[places] == code][0] for code in unseen]
    return np.concatenate([training, np.array(back, dtype=training.dtype)]), held_out[~np.isin(held_out, back)]
