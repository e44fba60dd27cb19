"""Which products are held out, at first and when a client is trained again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

from bc4all.model.held_out import Sides, distinct_rows, hold_out, split
from bc4all.model.training_set import TrainingSet
from tests.conftest import make_training_set

NUMBERS = {"f": "numeric"}
IDS = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 3000)


def of(codes: np.ndarray, ids: np.ndarray, X: object = None) -> TrainingSet:
    names = [f"c{code:03}" for code in range(codes.max() + 1)]
    return make_training_set(np.zeros((len(codes), 1)) if X is None else X, codes, names, ids)


def sides(data: TrainingSet, before: Sides | None = None) -> Sides:
    """The sides of a training, as the next one is given them: written and read."""
    training, held_out = hold_out(data, NUMBERS, before)
    assert sorted([*training, *held_out]) == list(range(len(data.codes)))
    assert set(data.codes[training]) == set(data.codes)
    return Sides.read(Sides(data.ids[training], data.ids[held_out]).stored())


def test_at_first_it_is_scikit_learns() -> None:
    """The split of the system that this one replaces, row for row."""
    codes = np.arange(1000) % 7
    expected = train_test_split(np.arange(1000), test_size=0.1, random_state=1234)
    for found in (split(codes), hold_out(of(codes, IDS[:1000]), NUMBERS)):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("kept", [True, False], ids=["both sides are known", "of before"])
def test_unchanged_data_is_split_as_before(kept: bool) -> None:
    """The same products again: the same parts, in the same order."""
    data = of(np.arange(1000) % 7, IDS[:1000])
    first = hold_out(data, NUMBERS)
    known = Sides(data.ids[first[0]], data.ids[first[1]] if kept else None)
    for before, after in zip(first, hold_out(data, NUMBERS, known), strict=True):
        np.testing.assert_array_equal(before, after)


@given(st.integers(400, 900), st.integers(0, 300), st.integers(0, 300), st.integers(2, 90))
def test_each_product_stays_on_its_side(rows: int, more: int, gone: int, categories: int) -> None:
    """With products that came and went, in any order; of new ones about one in ten is held out."""
    codes = np.arange(rows + more) % categories
    before = sides(of(codes[:rows], IDS[:rows]))
    order = np.random.default_rng(rows).permutation(rows + more)[gone:]
    data = of(np.unique(codes[order], return_inverse=True)[1], IDS[order])
    now = sides(data, before)
    assert before.held_out is not None
    assert now.held_out is not None
    assert not set(before.learned) & set(now.held_out)
    assert len(set(before.held_out) & set(now.learned)) <= categories  # a category's last row is learned from
    new = set(data.ids) - set(before.learned) - set(before.held_out)
    apart = len(new & set(now.held_out))
    assert abs(apart - len(new) / 10) <= 4 * np.sqrt(len(new) * 0.09) + categories
    again = sides(data, now)
    assert set(again.learned) == set(now.learned)


def test_of_a_champion_of_before_nothing_is_taken_over() -> None:
    """What was held out from it is not known: the first split is, not the newest products."""
    data = of(np.arange(1000) % 7, IDS[:1000])
    found = hold_out(data, NUMBERS, Sides(IDS[:600], None))
    for part, first in zip(found, split(data.codes), strict=True):
        np.testing.assert_array_equal(part, first)


@pytest.mark.parametrize("kinds", [{"brand": "text", "price": "numeric"}, {"brand": "text"}])
def test_texts_that_many_share_hold_out_as_many(kinds: dict[str, str]) -> None:
    """Brands, or titles of variants: of new products one in ten is held out all the same, year after year."""
    rng = np.random.default_rng(4)
    rows, before = 2000, None
    frame = pd.DataFrame({"brand": rng.choice([f"Brand {n}" for n in range(50)], 8000), "price": rng.random(8000)})
    codes, ids = np.arange(8000) % 7, rng.integers(-(2**63), 2**63 - 1, 8000)
    for month in range(13):
        known = rows + 500 * month
        data = of(codes[:known], ids[:known], frame.iloc[:known])
        training, held_out = hold_out(data, kinds, before)
        before = Sides(data.ids[training], data.ids[held_out])
        assert abs(len(held_out) / known - 0.1) < 0.02, month
        assert abs(np.mean(held_out >= 2000) - (1 - rows / known)) < 0.08, month


def test_products_of_the_same_text_stand_on_one_side() -> None:
    """A new one with its twin, spelled in another way; new ones of one text together; one without a text by itself."""
    rng = np.random.default_rng(1)
    titles = np.array([f"Phone {a} {b} GB" for a, b in rng.integers(0, 10**6, (1000, 2))], dtype=object)
    data = of(np.arange(1000) % 7, IDS[:1000], pd.DataFrame({"title": titles}))
    training, held_out = hold_out(data, {"title": "text"})
    first = Sides(data.ids[training], data.ids[held_out])
    twins = np.array([title.lower().replace(" gb", "-GB") for title in titles], dtype=object)
    fresh = np.array([f"Fridge {number} W" for number in range(200)] * 2, dtype=object)
    more = np.concatenate([titles, twins, fresh, np.array(["", "--"] * 200, dtype=object)])
    data = of(np.arange(2800) % 7, IDS[:2800], pd.DataFrame({"title": more}))
    apart = np.zeros(2800, dtype=bool)
    apart[hold_out(data, {"title": "text"}, first)[1]] = True
    np.testing.assert_array_equal(apart[1000:2000], apart[:1000])
    np.testing.assert_array_equal(apart[2000:2200], apart[2200:2400])
    assert 5 < apart[2000:2200].sum() < 40
    assert 20 < apart[2400:].sum() < 60


def test_variants_say_one_thing_together() -> None:
    """Rows that differ in spelling alone count once; those without a text, and of features without one, each."""
    titles = pd.DataFrame({"title": ["Phone 64 GB", "phone 64-gb", "Phone 32 GB", "", "--"]})
    assert distinct_rows(titles, {"title": "text"}) == 4
    assert distinct_rows(np.zeros((5, 1)), NUMBERS) == 5


def test_what_was_kept_can_be_read_and_nothing_else() -> None:
    """Versions of before kept what they had learned alone."""
    both = Sides(IDS[:5], IDS[5:7])
    read = Sides.read(both.stored())
    np.testing.assert_array_equal(read.learned, both.learned)
    np.testing.assert_array_equal(read.held_out, both.held_out)
    assert Sides.read(IDS[:5]).held_out is None
    for spoilt in (IDS[:4].reshape(2, 2).astype(float), IDS[:6].reshape(2, 3), IDS[:5].astype(np.int32)):
        with pytest.raises(ValueError, match="are not what was held out"):
            Sides.read(spoilt)


def delivery(department: int, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A department's products: points of eight categories, those of later departments harder; and their ids."""
    codes = rng.integers(0, 8, rows) + 8 * department
    centres = np.random.default_rng(7).normal(0, 2, (40, 3))
    points = centres[codes] + rng.normal(0, 0.5 + 0.35 * department, (rows, 3))
    return points, codes, rng.integers(-(2**63), 2**63 - 1, rows)


def renamed(codes: np.ndarray, month: int) -> np.ndarray:
    """In the seventh month a taxonomy joins two categories."""
    return np.where(codes == 3, 2, codes) if month > 6 else codes


def test_a_year_of_growth_is_judged_by_the_whole_catalogue() -> None:
    """Products come and go each month, new departments are harder, categories are joined: what a version says of itself
    is true of all products within 0.02, and no department is held out more than others, as only the newest once were.
    """
    rng = np.random.default_rng(3)
    points, codes, ids = delivery(0, 20_000, rng)
    before: Sides | None = None
    for month in range(13):
        if month:
            stays, came = rng.random(len(ids)) > 0.04, delivery(month // 3, 5000, rng)
            old = points[stays], codes[stays], ids[stays]
            points, codes, ids = (np.concatenate(parts) for parts in zip(old, came, strict=True))
        names, own = np.unique(renamed(codes, month), return_inverse=True)
        training, held_out = hold_out(of(own, ids, points), NUMBERS, before)
        before = Sides(ids[training], ids[held_out])
        model = GaussianNB().fit(points[training], own[training])
        said = (model.predict(points[held_out]) == own[held_out]).mean()
        true = 0.0
        for department in range(month // 3 + 1):
            share = np.mean(codes // 8 == department)
            fresh, theirs, _ = delivery(department, 30_000, rng)
            true += share * (names[model.predict(fresh)] == renamed(theirs, month)).mean()
            apart = np.mean(codes[held_out] // 8 == department)
            assert abs(apart - share) <= 4 * np.sqrt(share * (1 - share) / len(held_out)), (month, department)
        assert abs(said - true) < 0.02, month
