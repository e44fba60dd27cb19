"""Categories under new names, and categories that are paths. Runs inside Python workers: NumPy only.

A category such as `Home > Kitchen > Kettles` has a parent at each level; its probability is its children's sum.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def rename(names: np.ndarray, codes: np.ndarray, new: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted names and codes (rows,) under their new names: two that are called the same become one."""
    called = np.array([new.get(name, name) for name in names], dtype=object)
    merged, places = np.unique(called, return_inverse=True)
    return merged, places[codes].astype(codes.dtype)


def levels(names: Sequence[str], separator: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each level but the deepest: its number from 1 on, the parents' names, and each name's place among them.

    A path that ends above a level is its own parent there.
    """
    paths = [[part.strip() for part in name.split(separator)] for name in names]
    joined = f" {separator.strip()} "
    for level in range(1, max(map(len, paths), default=0)):
        parents, places = np.unique([joined.join(path[:level]) for path in paths], return_inverse=True)
        yield level, parents, places


def members(places: np.ndarray, groups: int) -> Any:
    """Return a sparse (len(places), groups) matrix by which columns are summed up to the groups of these places."""
    from scipy.sparse import csr_array  # type: ignore[import-untyped]

    return csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), groups))


def parents(names: Sequence[str], separator: str) -> Any:
    """Return a sparse (names, parents) matrix that says which names are below each parent, of all levels."""
    from scipy.sparse import csr_array, hstack

    above = [members(places, len(found)) for _, found, places in levels(names, separator)]
    return csr_array(hstack(above)) if above else csr_array((len(names), 0))
