"""A shop over a year that grows, shrinks, and joins two categories: trained each month, and drift measured after it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from sklearn.naive_bayes import GaussianNB

from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.data.drift import PREDICTED, Drift, bin_counter, compare
from bc4all.identity import ClientId
from bc4all.kinds import Features
from bc4all.learning.blending import planner
from bc4all.learning.model_size import Room
from bc4all.learning.plan import Plan, Planner, Settled
from bc4all.learning.tasks import OneTask
from bc4all.learning.training import Learned, Lesson, Opponent, learn
from bc4all.model.ranking import rank
from tests.conftest import make_client, make_training_set

TASK = OneTask(Room(4 << 30, "this test"))
LIMIT = 0.2  # of the PSI, from which on drift is reported
POINTS, TITLES = (
    {"a": "numeric", "b": "numeric", "c": "numeric"},
    {"title": "text", "brand": "category", "price": "numeric"},
)
A_DEPARTMENT = 8  # categories
NAMES = np.array([f"c{code:02}" for code in range(6 * A_DEPARTMENT)], dtype=object)
CENTRES = np.random.default_rng(7).normal(0, 2, (len(NAMES), 3))
CENTRES[-A_DEPARTMENT:] += 4  # the last one's goods are of another kind


@dataclass(frozen=True)
class Products:
    """Some of them: their features, their category, and the department that has it."""

    frame: pd.DataFrame
    codes: np.ndarray

    @property
    def departments(self) -> np.ndarray:
        return self.codes // A_DEPARTMENT

    def __getitem__(self, chosen: np.ndarray) -> "Products":
        return Products(self.frame[chosen], self.codes[chosen])


def joined(parts: Sequence[Products]) -> Products:
    frames, codes = [part.frame for part in parts], [part.codes for part in parts]
    return Products(pd.concat(frames, ignore_index=True), np.concatenate(codes))


class Shop:
    """Makes products of a department with some frequent categories; those of later departments are harder.

    `copies`: as many products of a text, a brand and a price, which are variants.
    """

    def __init__(self, kinds: Features, copies: int = 1) -> None:
        self.kinds, self.copies, self.rng = kinds, copies, np.random.default_rng(3)

    def products(self, department: int, rows: int) -> Products:
        share = 1 / np.arange(1, A_DEPARTMENT + 1)
        own = self.rng.choice(A_DEPARTMENT, -(-rows // self.copies), p=share / share.sum()) + A_DEPARTMENT * department
        frame = self._points(department, own) if self.kinds == POINTS else self._titles(department, own)
        variants = np.repeat(np.arange(len(own)), self.copies)[:rows]
        return Products(frame.iloc[variants].reset_index(drop=True), own[variants])

    def _points(self, department: int, codes: np.ndarray) -> pd.DataFrame:
        points = CENTRES[codes] + self.rng.normal(0, 0.5 + 0.35 * department, (len(codes), 3))
        return pd.DataFrame(points, columns=list(POINTS))

    def _titles(self, department: int, codes: np.ndarray) -> pd.DataFrame:
        """Two words of six that each category has, or by mistake of its neighbours'."""
        neighbours = self.rng.integers(0, A_DEPARTMENT, (2, len(codes))) + A_DEPARTMENT * department
        sources = np.where(self.rng.random((2, len(codes))) < 0.15 + 0.12 * department, neighbours, codes)
        words = self.rng.integers(0, 6, (2, len(codes)))
        numbers = self.rng.integers(0, 10**6, len(codes))
        return pd.DataFrame(
            {
                "title": [f"w{a}x{i} w{b}x{j} n{n}" for a, b, i, j, n in zip(*sources, *words, numbers, strict=True)],
                "brand": [f"b{department}x{place}" for place in self.rng.integers(0, 6, len(codes))],
                "price": np.exp(self.rng.normal(2 + 0.2 * department, 1, len(codes))).round(2),
            }
        )

    def like(self, catalogue: Products) -> Products:
        """Other products of the same population."""
        shares = np.bincount(catalogue.departments)
        return joined([self.products(department, rows) for department, rows in enumerate(shares)])

    def matrix(self, frame: pd.DataFrame) -> pd.DataFrame | np.ndarray:
        """What a model is given."""
        return frame.to_numpy() if self.kinds == POINTS else frame


def labels(codes: np.ndarray, month: int) -> np.ndarray:
    """In the seventh month a taxonomy joins two categories."""
    return np.where(codes == 3, 2, codes) if month > 6 else codes


def year(shop: Shop, planner: Planner, rows: int) -> Iterator[tuple[Learned, Products]]:
    """Train each month: one product in 25 has gone, others have come, from the third month on of a new department."""
    catalogue, sides = shop.products(0, rows), None
    ids = shop.rng.integers(-(2**63), 2**63 - 1, rows)
    for month in range(13):
        if month:
            stays = shop.rng.random(len(ids)) > 0.04
            catalogue = joined([catalogue[stays], shop.products(month // 3, rows // 4)])
            ids = np.concatenate([ids[stays], shop.rng.integers(-(2**63), 2**63 - 1, rows // 4)])
        own, codes = np.unique(labels(catalogue.codes, month), return_inverse=True)
        data = make_training_set(shop.matrix(catalogue.frame), codes, NAMES[own], ids)
        lesson = Lesson(ClientId("x"), shop.kinds, "a model", planner, refits=month % 2 == 1)
        learned = learn(TASK, lesson, data, Opponent(sides=sides))
        sides = learned.sides
        yield learned, catalogue


def drift(shop: Shop, learned: Learned, products: Products) -> Drift:
    """What a prediction of such products reports."""
    best, _ = rank(learned.model.predict_proba(shop.matrix(products.frame)))
    predicted: Mapping[str, int] = pd.Series(np.asarray(learned.model.classes_)[best[:, 0]]).value_counts().to_dict()
    counter = bin_counter(learned.profile, shop.kinds)
    return compare(learned.profile, list(counter(products.frame)), counter, predicted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "copies", "rows"),
    [(POINTS, 1, 4000), (TITLES, 1, 1500), (TITLES, 5, 1500)],
    ids=["points", "titles", "variants"],
)
def test_a_year_of_growth_is_no_drift(kinds: Features, copies: int, rows: int) -> None:
    """Neither of a feature nor of the predicted categories, in no month, to other products of the same population: what
    a version keeps stands for the whole catalogue of its month, though variants are held out together.
    """
    shop = Shop(kinds, copies)
    client = make_client("x", features=TITLES, model=TEXT_MODEL, model_params={})
    plan = Settled(Plan("bayes", [GaussianNB()], [1.0], None, {})) if kinds == POINTS else planner(client)
    for month, (learned, catalogue) in enumerate(year(shop, plan, rows)):
        assert drift(shop, learned, shop.like(catalogue)).above(LIMIT) == [], month
    # What is another population at the end of the year: a new department of a third of the products, another scale.
    like = shop.like(catalogue)
    grown = joined([like, shop.products(5, len(like.codes) // 2)])
    assert drift(shop, learned, grown).psi[PREDICTED] > LIMIT
    feature = list(kinds)[-1]
    scaled = Products(like.frame.assign(**{feature: like.frame[feature] * 100}), like.codes)
    assert drift(shop, learned, scaled).psi[feature] > LIMIT
