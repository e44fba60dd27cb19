"""How well a model does on rows whose categories are known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bc4all.model.features import Matrix
from bc4all.model.ranking import Model, in_blocks, rank
from bc4all.model.taxonomy import levels, members

_BINS = 10


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one part of the data.

    `metrics`: accuracy, top_5_accuracy, f1_macro, f1_weighted, log_loss (natural), expected_calibration_error (over ten
    equal bins of the best score). `answers`: a row a row with predicted (the best category), its score, correct, hit
    (whether the truth is among the best five), loss. `categories`: a row a category with
    rows, precision, recall, f1, top_5. `confusion`: counts, truth by prediction, in the order of `categories`, sparse.
    `reliability`: a row a bin of the best score with rows, mean score, accuracy.
    """

    rows: int
    metrics: dict[str, float]
    answers: pd.DataFrame
    categories: pd.DataFrame
    confusion: Any
    reliability: pd.DataFrame


def evaluate(model: Model, X: Matrix, labels: np.ndarray, separator: str | None = None) -> Evaluation:
    """Compare the model's answers for X (rows, features) with the true labels (rows,).

    A category that the model has never seen counts as missed. top_5_accuracy counts the ranks that would be published,
    where scikit-learn's top_k_accuracy_score breaks ties the other way round. Where categories are paths, with a
    `separator` between their parts, there is an accuracy_level_N for each level above the deepest.
    """
    known = np.asarray(model.classes_, dtype=object)
    names = np.unique(np.concatenate([known, np.asarray(labels, dtype=object)]))
    truth = pd.Categorical(labels, categories=names).codes.astype(np.int64)  # integers: a string compare costs 20 times
    of_known = np.searchsorted(names, known)
    place_in_model = np.full(len(names), -1)
    place_in_model[of_known] = np.arange(len(known))
    best, top_score, true_probability = _best(model, X, place_in_model[truth])
    predicted = of_known[best[:, 0]]
    tiny = np.finfo(np.float64).eps  # scikit-learn's log_loss clips there, too
    answers = pd.DataFrame(
        {
            "predicted": pd.Categorical.from_codes(predicted, pd.Index(names)),
            "score": top_score.astype(np.float64),
            "correct": truth == predicted,
            "hit": (of_known[best] == truth[:, None]).any(axis=1),
            "loss": -np.log(np.clip(true_probability, tiny, 1 - tiny)),
        }
    )
    seen = np.union1d(truth, predicted)
    categories = _categories(names[seen], seen, truth, predicted, answers["hit"])
    reliability = _reliability(top_score, truth == predicted)
    gap = (reliability["mean_score"] - reliability["accuracy"]).abs()
    measured = {
        "accuracy": answers["correct"].mean(),
        "top_5_accuracy": answers["hit"].mean(),
        "f1_macro": categories["f1"].mean(),
        "f1_weighted": np.average(categories["f1"], weights=categories["rows"]),
        "log_loss": answers["loss"].mean(),
        "expected_calibration_error": np.average(gap, weights=reliability["rows"]),
        **(_level_accuracy(model, X, truth, names, of_known, separator) if separator else {}),
    }
    return Evaluation(
        rows=len(labels),
        metrics={name: float(value) for name, value in measured.items()},
        answers=answers,
        categories=categories,
        confusion=_confusion(np.searchsorted(seen, truth), np.searchsorted(seen, predicted), len(seen)),
        reliability=reliability,
    )


def _categories(
    names: np.ndarray, seen: np.ndarray, truth: np.ndarray, predicted: np.ndarray, hit: pd.Series
) -> pd.DataFrame:
    """Return a row for each category of `seen`, which are called `names`.

    Truth and predicted (rows,) are such places.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, rows = precision_recall_fscore_support(truth, predicted, labels=seen, zero_division=0.0)
    top_5 = hit.groupby(truth).mean().reindex(seen).to_numpy()
    columns = {"rows": rows, "precision": precision, "recall": recall, "f1": f1, "top_5": top_5}
    return pd.DataFrame({"category": names, **columns})


def _confusion(truth: np.ndarray, predicted: np.ndarray, categories: int) -> Any:
    """Return how often each category (its place) was predicted as each: dense, 5,000 categories would be 200 MB."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]

    counts = coo_array((np.ones(len(truth), dtype=np.int64), (truth, predicted)), shape=(categories, categories))
    return counts.tocsr()


def _best(model: Model, X: Matrix, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's best categories, its best score, and the probability of its true category."""
    best, scores, of_truth = [], [], []
    for block, probabilities in in_blocks(model, X):
        places, block_scores = rank(probabilities)
        wanted = truth[block]
        best.append(places)
        scores.append(block_scores[:, 0])
        of_truth.append(np.where(wanted < 0, 0.0, probabilities[np.arange(len(wanted)), wanted]))
    return np.concatenate(best), np.concatenate(scores), np.concatenate(of_truth)


def _level_accuracy(
    model: Model, X: Matrix, truth: np.ndarray, names: np.ndarray, of_known: np.ndarray, separator: str
) -> dict[str, float]:
    """Return how often the best parent is the true category's, level by level.

    A parent's probability is its children's sum.

    truth (rows,) are places in `names`; of_known (classes,) the places there of the model's categories.
    """
    right: dict[str, int] = {}
    found = levels(names.tolist(), separator)
    parents = [(level, members(places[of_known], len(above)), places) for level, above, places in found]
    for block, probabilities in in_blocks(model, X):
        for level, children, places in parents:
            best = (probabilities @ children).argmax(axis=1)
            hits = int((best == places[truth[block]]).sum())
            right[f"accuracy_level_{level}"] = right.get(f"accuracy_level_{level}", 0) + hits
    return {name: count / len(truth) for name, count in right.items()}


def _reliability(score: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Ten equal bins of the best score: a calibrated model's accuracy equals its mean score in each."""
    place = np.minimum((score * _BINS).astype(int), _BINS - 1)
    table = pd.DataFrame({"bin": place, "score": score.astype(np.float64), "correct": correct})
    grouped = table.groupby("bin").agg(
        rows=("score", "size"), mean_score=("score", "mean"), accuracy=("correct", "mean")
    )
    return grouped.reset_index()
