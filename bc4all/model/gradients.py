"""Ridge regression by conjugate gradients, of all categories at once: where passes over the rows would be too many.

They need a third of the steps once the system's largest eigenvalues are taken out (Frangella, Tropp and Udell,
Randomized Nyström preconditioning, 2021).
"""

from collections.abc import Callable

import numpy as np
from scipy import linalg, sparse  # type: ignore[import-untyped]

from bc4all.model.kernel import compile_cached
from bc4all.model.progress import part, report

_AT_ONCE = 32  # columns in one product: of two hundred thousand terms 51 MB
_WIDE = 16  # columns from which the compiled product is faster
# Eigenvalues taken out, at least and at most: of 18,000 titles, more take longer to find than they save to ten
# categories, or to a hundred.
_EIGENVALUES = 200, 400
_EIGENVALUES_A_CATEGORY = 4
_MOST_SKETCHED = 16_000_000  # rows x eigenvalues: 128 MB, four times while they are found
_ROWS_AN_EIGENVALUE = 10
_TINY = float(np.finfo(np.float64).tiny)
_SEED = 1234


def by_gradients(
    X: sparse.csr_matrix, targets: np.ndarray, weights: np.ndarray, centred: bool, tolerance: float, most: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients (columns, margins), the intercept (margins,), and each margin's steps (margins,).

    targets (rows, margins); weights (rows,), of each row's squared error where the coefficients' squares have 1;
    `centred`: whether there is to be an intercept; `most` steps, ten times the rows where that is None.
    """
    roots = np.sqrt(weights)[:, None]
    shares = weights / weights.sum() if centred else np.zeros(len(weights))
    frequent = np.argsort(-np.bincount(X.indices, minlength=X.shape[1]), kind="stable")  # side by side they are cached
    X = sparse.csr_matrix(X[:, frequent])
    means, centre = shares @ targets, shares @ X  # of the rows' columns (columns,)
    columns = sparse.csr_matrix(X.T)

    def gram(given: np.ndarray) -> np.ndarray:
        """R (X - 1 centre) (X - 1 centre)' R given, where R are the roots of the weights."""
        spread = roots * given
        primal = _product(columns, spread) - np.outer(centre, spread.sum(axis=0))
        image: np.ndarray = roots * (_product(X, primal) - centre @ primal)
        return image

    nearly_solve = _preconditioner(gram, *targets.shape)
    coefficients, steps = np.empty((X.shape[1], targets.shape[1])), np.empty(targets.shape[1], dtype=np.int32)
    intercept = np.empty(targets.shape[1])
    margins = targets.shape[1]
    for start in range(0, margins, _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, margins))
        asked = roots * (targets[:, some] - means[some])
        with part(start / margins, some.stop / margins):
            solved, steps[some] = _conjugate_gradients(gram, nearly_solve, asked, tolerance, most or 10 * len(targets))
        dual = roots * solved
        dual -= dual.sum(axis=0) * shares[:, None]  # they add up to nothing but for what was left off
        coefficients[frequent, some] = _product(columns, dual)
        intercept[some] = means[some] - (X @ centre) @ dual
    return coefficients, intercept, steps


def _product(matrix: sparse.csr_matrix, dense: np.ndarray) -> np.ndarray:
    """Return a sparse matrix times a dense one: scipy's own is slower where that is wide."""
    if dense.shape[1] < _WIDE:
        return np.asarray(matrix @ dense)
    found = np.zeros((matrix.shape[0], dense.shape[1]), dtype=dense.dtype)
    _add_product(matrix.indptr, matrix.indices, matrix.data, np.ascontiguousarray(dense), found)
    return found


@compile_cached
def _add_product(indptr, indices, data, dense, found):  # type: ignore[no-untyped-def]
    """Add a csr matrix (rows, columns) times dense (columns, any) to found (rows, any), of one type."""
    for row in range(len(found)):
        own = found[row]
        for at in range(indptr[row], indptr[row + 1]):
            value, other = data[np.uint64(at)], dense[np.uint64(indices[np.uint64(at)])]
            for k in range(np.uint64(len(own))):
                own[k] += value * other[k]


_Product = Callable[[np.ndarray], np.ndarray]  # with a symmetric matrix: (rows, any) -> (rows, any)


def _preconditioner(gram: _Product, rows: int, categories: int) -> _Product:
    """Return what solves (I + gram) x = given but for the eigenvectors of gram's smaller eigenvalues."""
    fewest, most = _EIGENVALUES
    count = min(max(fewest, _EIGENVALUES_A_CATEGORY * categories), most, rows // _ROWS_AN_EIGENVALUE)
    count = min(count, _MOST_SKETCHED // rows)
    if not count:
        return lambda given: given
    sketch = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((rows, count)))[0]
    image = np.hstack([gram(sketch[:, start : start + _AT_ONCE]) for start in range(0, count, _AT_ONCE)])
    shift = max(np.sqrt(rows) * np.finfo(image.dtype).eps * float(np.linalg.norm(image)), 1e-12)
    image += shift * sketch  # so that rounding leaves what is factorised positive definite
    root = linalg.cholesky(sketch.T @ image, check_finite=False)
    half = linalg.solve_triangular(root, image.T, trans="T", check_finite=False).T
    vectors, values, _ = linalg.svd(half, full_matrices=False, check_finite=False)
    eigenvalues = np.maximum(values**2 - shift, 0)
    gains = ((1 + eigenvalues[-1]) / (1 + eigenvalues) - 1)[:, None]
    return lambda given: given + vectors @ (gains * (vectors.T @ given))


def _conjugate_gradients(
    gram: _Product, nearly_solve: _Product, targets: np.ndarray, tolerance: float, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Solve (I + gram) x = target for each column of targets, until what is left is `tolerance` of the target's length.

    Returns the solutions, of the targets' shape, and how many steps each took.
    """
    solution, left = np.zeros_like(targets), targets.copy()
    direction = nearly_solve(left.copy())  # which may be what it is given
    gain = (left * direction).sum(axis=0)
    squares = (left**2).sum(axis=0)
    enough, steps = tolerance**2 * squares, np.zeros(targets.shape[1], dtype=np.int32)
    goal = np.log(np.maximum(enough, _TINY))  # a logarithm: what is left falls by about as much of it each step
    way = np.maximum(np.log(np.maximum(squares, _TINY)) - goal, _TINY)
    for _ in range(most):
        open_ = np.flatnonzero(squares > enough)
        if not len(open_):
            break
        report(1 - float(((np.log(squares[open_]) - goal[open_]) / way[open_]).max()))
        towards = direction[:, open_]
        image = towards + gram(towards)
        length = gain[open_] / (towards * image).sum(axis=0)
        solution[:, open_] += length * towards
        left[:, open_] -= length * image
        nearly = nearly_solve(left[:, open_])
        before, gain[open_] = gain[open_], (left[:, open_] * nearly).sum(axis=0)
        direction[:, open_] = nearly + gain[open_] / before * towards
        squares[open_] = (left[:, open_] ** 2).sum(axis=0)
        steps[open_] += 1
    return solution, steps
