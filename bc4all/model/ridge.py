"""Ridge regression of all categories at once over sparse rows: what scikit-learn's RidgeClassifier finds, sooner.

scikit-learn solves the same system for one category after the other, from the beginning. Here it is solved for many of
them together, in its dual form (Saunders, Gammerman and Vovk, Ridge regression learning algorithm in dual variables,
1998): of a thousand rows exactly, by one factorisation, of more row by row (Shalev-Shwartz and Zhang, Stochastic dual
coordinate ascent, 2013). Of titles, conjugate gradients take 60 steps of 20,000 and 200 of 100,000, as their largest
eigenvalues are ten thousand times their least, where 7 to 50 passes over the rows do, each no dearer than a step, and
of hundreds of categories a fifth of one. Where they do not, as beside columns of numbers or to a small tolerance, it is
left to `gradients`.
"""

from typing import Any

import numpy as np
from scipy import linalg, sparse  # type: ignore[import-untyped]

from bc4all.model.gradients import by_gradients
from bc4all.model.kernel import compile_cached
from bc4all.model.progress import part, report

_MOST_FACTORISED = 1000  # rows: of more, passes are sooner done (3,000: 0.2 s for 1.4)
_BLOCK = 500  # rows of that square that are made at a time
_CELLS = 1 << 26  # rows, or columns, x categories that are solved together: 256 MB
_MOST_TOGETHER = 512  # categories: a row's coefficients stay in the cache
_MOST_PASSES = 200  # to the tolerance: what takes more is sooner solved by gradients
_FIRST_PASSES = 20  # by which it is foreseen how many there will be
_SINGLE = 1e-5  # the tolerance from which on single precision is enough
_TINY = float(np.finfo(np.float64).tiny)
_SEED = 1234


def is_solved_here(classifier: Any, X: Any) -> bool:
    """Return whether `fit_ridge` fits it: scikit-learn would otherwise go by `sparse_cg`, category by category."""
    from sklearn.linear_model import RidgeClassifier

    plain = type(classifier) is RidgeClassifier and classifier.solver == "auto" and not classifier.positive
    return bool(plain and sparse.issparse(X) and classifier.alpha > 0)


def fit_ridge(classifier: Any, X: Any, y: np.ndarray) -> Any:
    """Fit a RidgeClassifier that `is_solved_here` to sparse rows X (rows, columns), and return it.

    Of many rows, until what is left is `tol` of the targets' length. `n_iter_` are each margin's passes, or steps.
    """
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_array
    from sklearn.utils.class_weight import compute_sample_weight

    labels = LabelBinarizer(pos_label=1, neg_label=-1).fit(y)
    # Of two categories there is one margin, the second's.
    truth = np.searchsorted(labels.classes_, y) - (len(labels.classes_) == 2)
    margins = len(labels.classes_) if len(labels.classes_) > 2 else 1
    weights = compute_sample_weight(classifier.class_weight, y)
    counted = np.flatnonzero(weights)  # a row of no weight has no place in the dual form
    X = sparse.csr_matrix(check_array(X, accept_sparse="csr", dtype=(np.float64, np.float32)))
    X = X[counted] if len(counted) < X.shape[0] else X
    truth, weights = truth[counted], weights[counted] / classifier.alpha
    if len(counted) <= _MOST_FACTORISED:
        coefficients, intercept, passes = *_factorised(X, truth, margins, weights, classifier.fit_intercept), None
    else:
        coefficients, intercept, passes = _descended(X, truth, margins, weights, classifier)
    classifier.coef_ = coefficients if margins > 1 else coefficients[0]  # of two categories as they have it
    classifier.intercept_ = intercept if classifier.fit_intercept else 0.0
    classifier.n_iter_, classifier.solver_, classifier.n_features_in_ = passes, "auto", X.shape[1]
    classifier.classes_, classifier._label_binarizer = labels.classes_, labels  # without which it is not fitted to it
    return classifier


def _factorised(
    X: sparse.csr_matrix, truth: np.ndarray, margins: int, weights: np.ndarray, with_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients (margins, columns) and the intercept (margins,), exactly.

    truth (rows,): the margin that is to be 1 where others are to be -1; weights (rows,), of each row's squared error
    where the coefficients' squares have 1.
    """
    gram = np.zeros((len(truth), len(truth)), dtype=X.dtype)
    for start in range(0, len(truth), _BLOCK):  # its lower half is all that is read
        end = start + _BLOCK
        gram[start:end, :end] = (X[start:end] @ X[:end].T).toarray()
    gram[np.diag_indices_from(gram)] += 1 / weights
    # Transposed it is as LAPACK has it, and need not be copied.
    factor = linalg.cho_factor(gram.T, lower=False, overwrite_a=True, check_finite=False)
    targets = _targets(truth, margins).astype(X.dtype)
    ones = np.ones((len(truth), 1), dtype=X.dtype)
    solved = linalg.cho_solve(factor, np.hstack([targets, ones]), check_finite=False)
    dual, of_ones = solved[:, :-1], solved[:, -1]
    intercept = dual.sum(axis=0) / of_ones.sum() if with_intercept else np.zeros(margins)
    return np.ascontiguousarray((X.T @ (dual - np.outer(of_ones, intercept))).T), intercept


def _targets(truth: np.ndarray, margins: int) -> np.ndarray:
    """Return 1.0 for each row's own margin, -1.0 for the others, (rows, margins)."""
    return np.where(truth[:, None] == np.arange(margins), 1.0, -1.0)


def _descended(
    X: sparse.csr_matrix, truth: np.ndarray, margins: int, weights: np.ndarray, classifier: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_factorised`, to the classifier's tolerance; and the passes, or steps, that each margin took (margins,)."""
    whole = X
    if classifier.tol >= _SINGLE:
        X = X.astype(np.float32)
    rows, columns = X.shape
    shares = weights / weights.sum() if classifier.fit_intercept else np.zeros(rows)
    centre = np.asarray(X.T @ shares)  # of the rows, (columns,)
    near, square = np.asarray(X @ centre), float(centre @ centre)  # each row's product with it, and its own
    lengths = np.asarray(X.multiply(X).sum(axis=1)).ravel() - 2 * near + square + 1 / weights
    means = 2 * np.bincount(np.maximum(truth, 0), shares * (truth >= 0), margins) - shares.sum()
    facts = np.column_stack([1 / weights, 1 / lengths, near, square - near]).astype(X.dtype)
    coefficients, passes = np.empty((margins, columns), dtype=X.dtype), np.empty(margins, dtype=np.int32)
    intercept = np.empty(margins)
    step = max(1, min(_MOST_TOGETHER, _CELLS // max(rows, columns)))
    for start in range(0, margins, step):
        some = slice(start, min(start + step, margins))
        own = np.zeros((columns, some.stop - start), dtype=X.dtype)
        with part(start / margins, some.stop / margins):
            shift, beyond, passes[some] = _one_block(X, truth - start, facts, means[some], own, classifier.tol)
        if not passes[start]:
            by_steps = weights, classifier.fit_intercept, classifier.tol, classifier.max_iter
            found, intercept, passes = by_gradients(whole, _targets(truth, margins), *by_steps)
            return np.ascontiguousarray(found.T), intercept, passes
        own -= np.outer(centre.astype(X.dtype), shift.astype(X.dtype))
        coefficients[some], intercept[some] = own.T, means[some] - (beyond - square * shift)
    return coefficients, intercept, passes


def _one_block(
    X: sparse.csr_matrix,
    truth: np.ndarray,
    facts: np.ndarray,
    means: np.ndarray,
    own: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Solve for some margins: own (columns, margins) become their coefficients, before they are shifted.

    Return the sum of the dual coefficients and what the coefficients give the centre of the rows, float64 (margins,);
    and how many passes that took, 0 where it has not come to the tolerance.
    """
    rows, margins = len(truth), own.shape[1]
    of_target = np.bincount(truth[(truth >= 0) & (truth < margins)], minlength=margins)
    length = float((of_target * (1 - means) ** 2 + (rows - of_target) * (1 + means) ** 2).sum())
    dual, sums = np.zeros((rows, margins), dtype=X.dtype), np.zeros((2, margins))
    worked_on = truth, facts, means.astype(X.dtype), own, dual, sums, np.empty(margins, dtype=X.dtype)
    enough = np.log(max(tolerance**2 * length, _TINY))  # of what is left, squared
    orders, left = np.random.default_rng(_SEED), [np.inf]
    while left[-1] > enough:
        squares = _pass_over(orders.permutation(rows), X.indptr, X.indices, X.data, *worked_on)
        left.append(np.log(max(squares, _TINY)))
        done = len(left) - 1
        gain = (left[done // 2] - left[-1]) / (done - done // 2)  # of a pass: some are luckier
        if done >= _FIRST_PASSES and left[-1] - enough > (_MOST_PASSES - done) * gain:
            return sums[0], sums[1], 0
        if done > 1 and gain > 0:
            report(done / (done + max(left[-1] - enough, 0) / gain))
    return sums[0], sums[1], len(left) - 1


@compile_cached
def _pass_over(order, indptr, indices, data, truth, facts, means, own, dual, sums, room):  # type: ignore[no-untyped-def]
    """Solve the equation of one row after the other for its own dual coefficients; return what was left, squared.

    Rows are centred without being changed: facts (rows, 4) are 1 / weight, 1 / the diagonal, a row's product with the
    centre, and the centre's square less that; sums float64 (2, margins) are those of the dual coefficients, and of
    these times the products. own (columns, margins) and dual (rows, margins) are changed; room (margins,).
    """
    total, margins = 0.0, len(room)
    for at in range(len(order)):
        row = order[at]
        cost, gain, near, rest = facts[row, 0], facts[row, 1], facts[row, 2], facts[row, 3]
        of_row = dual[row]
        for k in range(margins):
            room[k] = -means[k] - 1 - cost * of_row[k] - rest * sums[0, k] + sums[1, k]
        if 0 <= truth[row] < margins:
            room[truth[row]] += 2
        for place in range(indptr[row], indptr[row + 1]):
            value, other = data[place], own[indices[place]]
            for k in range(margins):
                room[k] -= value * other[k]
        for k in range(margins):
            total += room[k] * room[k]
            room[k] *= gain
            of_row[k] += room[k]
            sums[0, k] += room[k]
            sums[1, k] += near * room[k]
        for place in range(indptr[row], indptr[row + 1]):
            value, other = data[place], own[indices[place]]
            for k in range(margins):
                other[k] += value * room[k]
    return total
