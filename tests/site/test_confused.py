"""The pairs of categories that are confused most: as training keeps them, and on a client's page."""

import io

import numpy as np
import pandas as pd
import pytest

from bc4all.identity import ClientId
from bc4all.learning.figures import evaluation_files
from bc4all.model.evaluation import evaluate
from bc4all.site.client import ModelFacts, table_rows
from bc4all.site.confused_page import ConfusedPair, confused_context
from bc4all.site.pages import render
from tests.site.test_report import NASTY, Page


class Certain:
    """A model whose only feature is the category's place."""

    def __init__(self, names: list[str]) -> None:
        self.classes_ = np.array(sorted(names), dtype=object)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.eye(len(self.classes_))[X[:, 0].astype(int)]


def tables_of(names: list[str], truth: list[str], predicted: list[str]) -> dict[str, list[dict[str, str]]]:
    """The tables that a page reads of a training with these answers."""
    model = Certain(names)
    places = np.searchsorted(model.classes_.astype(str), predicted).astype(float)[:, None]
    evaluated = evaluate(model, places, np.array(truth, dtype=object))
    files = evaluation_files(ClientId("a"), {"training": evaluated, "held_out": evaluated})
    return {name: table_rows(name, files[name]) for name in ("categories_held_out.csv", "confused_held_out.csv")}


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_are_those_of_a_cross_table(seed: int) -> None:
    """As pandas counts them, those of most products first; a category that looks like a formula is itself again."""
    rng = np.random.default_rng(seed)
    names = ["=cmd()", "a", "b", "c", "d"]
    truth, predicted = (rng.choice(names, 400, p=[0.5, 0.2, 0.1, 0.1, 0.1]).tolist() for _ in range(2))
    confused = confused_context(ModelFacts([], {}, [], tables_of(names, truth, predicted), None))
    assert confused is not None
    counts = pd.crosstab(pd.Series(truth), pd.Series(predicted)).stack()
    wanted = {pair: rows for pair, rows in counts.items() if pair[0] != pair[1] and rows}  # type: ignore[index]
    assert {(pair.category, pair.predicted): pair.rows for pair in confused["pairs"]} == wanted
    assert [pair.rows for pair in confused["pairs"]] == sorted(wanted.values(), reverse=True)
    assert {pair.category: pair.products for pair in confused["pairs"]} == pd.Series(truth).value_counts().to_dict()


def test_a_sentence_says_what_is_confused_most() -> None:
    """With a question, where both are taken for each other; and that nothing is, where nothing is."""
    tables = tables_of(["a", "b"], ["a", "a", "a", "a", "b"], ["a", "b", "b", "a", "a"])
    confused = confused_context(ModelFacts([], {}, [], tables, None))
    assert confused is not None
    assert confused["pairs"] == [ConfusedPair("a", "b", 2, 4), ConfusedPair("b", "a", 1, 1)]
    assert confused["sentence"] == (
        "Of the 4 held-out products of a, the champion takes 2 (50%) for b, and the other way round, too: do the two "
        "mean the same?"
    )
    right = confused_context(ModelFacts([], {}, [], tables_of(["a", "b"], ["a", "b"], ["a", "b"]), None))
    assert right is not None
    assert right["sentence"] == "The champion has confused none of 2 held-out products."
    before = ModelFacts([], {}, [], {"categories_held_out.csv": tables["categories_held_out.csv"]}, None)
    assert confused_context(before) is None
    assert confused_context(None) is None


def test_many_categories_leave_a_small_table() -> None:
    """The pairs of most products: 1,000 categories that are each taken for the next one are not all named."""
    names = [f"{place:04}" for place in range(1000)]
    model, X = Certain(names), ((np.arange(1000) + 1) % 1000)[:, None]
    evaluated = evaluate(model, X, np.array(names, dtype=object))
    table = pd.read_csv(io.BytesIO(evaluation_files(ClientId("a"), {"training": evaluated})["confused_training.csv"]))
    assert len(table) == 100


def test_markup_in_a_category_is_text() -> None:
    names = [NASTY, f"{NASTY}2"]
    confused = confused_context(ModelFacts([], {}, [], tables_of(names, names, names[::-1]), None))
    page = Page(text=render("confused.html.jinja", confused=confused))
    assert "img" not in {tag for tag, _ in page.tags}
    assert sum(NASTY in row for row in page.rows) == 2
