"""Ridge regression of all categories at once over sparse rows: what scikit-learn's RidgeClassifier finds, sooner.

scikit-learn solves the same system for one category after the other. Here a product with the rows is made for many of
them together; of some thousand rows, more where there are many categories, the system is factorised once for all, in
its dual form (Saunders, Gammerman and Vovk, Ridge regression learning algorithm in dual variables, 1998). With more
rows it is solved by conjugate gradients. They need a third of the steps once its largest eigenvalues are taken out
(Frangella, Tropp and Udell, Randomized Nyström preconditioning, 2021).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg, sparse  # type: ignore[import-untyped]

from bc4all.model.kernel import compile_cached

_MOST_FACTORISED = 3000  # rows: a square of as many is 72 MB, and takes seconds
_MOST_SQUARED = 10_000  # rows that are factorised for the sake of many categories: 800 MB, half a minute
_ROWS_A_CATEGORY = 150  # with fewer, to factorise is sooner done than all categories' steps (measured)
_BLOCK = 500  # rows of that square that are made at a time
_AT_ONCE = 32  # columns in one product: of two hundred thousand terms 51 MB
_WIDE = 16  # columns from which the compiled product is faster
# Eigenvalues taken out, at least and at most: of 18,000 titles, more take longer to find than they save to ten
# categories, or to a hundred.
_EIGENVALUES = 200, 400
_EIGENVALUES_A_CATEGORY = 4
_MOST_SKETCHED = 16_000_000  # rows x eigenvalues: 128 MB, four times while they are found
_ROWS_AN_EIGENVALUE = 10
_SEED = 1234


def is_solved_here(classifier: Any, X: Any) -> bool:
    """Return whether `fit_ridge` fits it: scikit-learn would otherwise go by `sparse_cg`, category by category."""
    from sklearn.linear_model import RidgeClassifier

    plain = type(classifier) is RidgeClassifier and classifier.solver == "auto" and not classifier.positive
    return bool(plain and sparse.issparse(X) and classifier.alpha > 0)


def fit_ridge(classifier: Any, X: Any, y: np.ndarray) -> Any:
    """Fit a RidgeClassifier that `is_solved_here` to sparse rows X (rows, columns), and return it."""
    # Private, but what its own `fit` begins with; the lock pins the release it was tried with.
    X, _, weights, targets = classifier._prepare_data(X, y, None, "sparse_cg")
    X, targets = sparse.csr_matrix(X), np.asarray(targets, dtype=X.dtype)
    rows, categories = targets.shape
    few = rows <= max(_MOST_FACTORISED, min(_MOST_SQUARED, _ROWS_A_CATEGORY * categories))
    if few and weights.all():  # a row of no weight has no place in that form
        dual, intercept = _factorised(X, targets, weights / classifier.alpha, classifier.fit_intercept)
        steps = None
    else:
        dual, intercept, steps = _iterated(X, targets, weights / classifier.alpha, classifier)
    coefficients, columns = np.empty((categories, X.shape[1]), dtype=X.dtype), sparse.csr_matrix(X.T)
    for start in range(0, categories, _AT_ONCE):
        coefficients[start : start + _AT_ONCE] = _product(columns, dual[:, start : start + _AT_ONCE]).T
    classifier.coef_ = coefficients if len(coefficients) > 1 else coefficients[0]  # of two categories as they have it
    classifier.intercept_ = intercept if classifier.fit_intercept else 0.0
    classifier.n_iter_, classifier.solver_, classifier.n_features_in_ = steps, "auto", X.shape[1]
    return classifier


def _factorised(
    X: sparse.csr_matrix, targets: np.ndarray, weights: np.ndarray, with_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the dual coefficients (rows, margins) and the intercept (margins,), exactly.

    targets (rows, margins); weights (rows,), of each row's squared error where the coefficients' squares have 1.
    """
    gram = np.zeros((len(targets), len(targets)), dtype=targets.dtype)
    for start in range(0, len(targets), _BLOCK):  # its lower half is all that is read
        end = start + _BLOCK
        gram[start:end, :end] = (X[start:end] @ X[:end].T).toarray()
    gram[np.diag_indices_from(gram)] += 1 / weights
    # Transposed it is as LAPACK has it, and need not be copied.
    factor = linalg.cho_factor(gram.T, lower=False, overwrite_a=True, check_finite=False)
    ones = np.ones((len(targets), 1), dtype=targets.dtype)
    solved = linalg.cho_solve(factor, np.hstack([targets, ones]), check_finite=False)
    dual, of_ones = solved[:, :-1], solved[:, -1]
    if not with_intercept:
        return dual, np.zeros(targets.shape[1])
    intercept = dual.sum(axis=0) / of_ones.sum()
    return dual - np.outer(of_ones, intercept), intercept


def _iterated(
    X: sparse.csr_matrix, targets: np.ndarray, weights: np.ndarray, classifier: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_factorised`, by conjugate gradients to the classifier's tolerance; and each margin's steps (margins,)."""
    roots = np.sqrt(weights)[:, None]
    shares = weights / weights.sum() if classifier.fit_intercept else np.zeros(len(weights))
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
    dual, steps = np.empty_like(targets), np.empty(targets.shape[1], dtype=np.int32)
    for start in range(0, targets.shape[1], _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        most = classifier.max_iter or 10 * len(targets)
        asked = roots * (targets[:, some] - means[some])
        solved, steps[some] = _conjugate_gradients(gram, nearly_solve, asked, classifier.tol, most)
        dual[:, some] = roots * solved
    dual -= dual.sum(axis=0) * shares[:, None]  # they add up to nothing but for what was left off
    return dual, means - (X @ centre) @ dual, steps


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
    for _ in range(most):
        open_ = np.flatnonzero(squares > enough)
        if not len(open_):
            break
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
