"""Which rows are fitted on, and which of them are asked out of fold: all, or a sample where they are very many."""

from dataclasses import dataclass

import numpy as np

from bc4all.model.training_set import TrainingSet

FOLDS = 3
MAX_COMPARED_ROWS = 50_000  # by which candidates are compared: more rows rank them no better
_MAX_CELLS = 5_000_000  # rows of a fold x categories: 20 to 60 MB a candidate; the driver holds a dozen
_FOLD_SEED = 1234


@dataclass(frozen=True)
class Rows:
    """What tasks work on: the data, the places of the rows to fit on, and each such row's fold, by `folds`."""

    data: TrainingSet
    places: np.ndarray
    folds: np.ndarray

    @property
    def is_sampled(self) -> bool:
        """Whether there are too many rows for each to have a fold."""
        return bool((self.folds == FOLDS).any())

    def asked(self, once: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the categories of the rows that are asked, of the first fold alone or of all, int32 (rows,).

        And whether each could be known, bool (rows,): whether what is fitted for its fold has met its category.
        """
        codes, known = self.data.codes[self.places], np.zeros(len(self.places), dtype=bool)
        for fold in range(1 if once else FOLDS):
            own = self.folds == fold
            known[own] = np.isin(codes[own], self.data.codes[self.others(fold)])
        asked = self._is_asked(once)
        return codes[asked], known[asked]

    def asked_places(self, once: bool) -> np.ndarray:
        """Return where the rows stand in the data that are asked, of the first fold alone or of all, in order."""
        return np.asarray(self.places[self._is_asked(once)])

    def _is_asked(self, once: bool) -> np.ndarray:
        return np.asarray(self.folds < (1 if once else FOLDS))

    def others(self, fold: int) -> np.ndarray:
        """Return the places of rows to fit on while a fold is asked, in order, up to MAX_COMPARED_ROWS.

        Sampled or not: a model of a sample alone would be asked of many categories that it has hardly met.
        """
        others = np.flatnonzero((self.folds != fold) & (self.folds < FOLDS))
        more = np.flatnonzero(self.folds == FOLDS)
        if len(more):
            drawn = np.random.default_rng(_FOLD_SEED).permutation(more)[: max(0, MAX_COMPARED_ROWS - len(others))]
            others = np.sort(np.concatenate([others, drawn]))
        chosen: np.ndarray = self.places[others]
        return chosen


def folds(codes: np.ndarray, most_rows: int = MAX_COMPARED_ROWS, most_cells: int = _MAX_CELLS) -> np.ndarray:
    """Return a fold, 0 to FOLDS - 1, for each row, uint8: every category in as many as it has rows for.

    FOLDS itself, for none, where there are more rows than that: a random sample will do, with every category in it.
    """
    order = np.random.default_rng(_FOLD_SEED).permutation(len(codes))
    first = np.unique(codes[order], return_index=True)[1]
    most = max(min(most_rows, FOLDS * most_cells // len(first)), 2 * len(first))
    taken = np.concatenate([order[:most], order[first[first >= most]]])
    by_category = taken[np.argsort(codes[taken], kind="stable")]
    found = np.full(len(codes), FOLDS, dtype=np.uint8)
    found[by_category] = np.arange(len(taken)) % FOLDS
    return found
