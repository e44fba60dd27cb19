"""What the benchmarks write down can be read again, and a loss is seen. What they measure is no test's business."""

from pathlib import Path

from bench.count_data import FEATURES, SHARES, count_products
from bench.pictures import draw_lines
from bench.results import MEMORY_HEAD, Weight, lost, read_ratios, read_sections, render, render_section
from bench.turns import HEAD, OURS, Turns, in_turn

ROWS = Turns("predict 1,000 products", 1000, {OURS: [2.0, 4.0, 3.0], "pandas": [6.0], "joblib": [1.5]}, {"pandas": 1.0})
KINDS = ("predict 1,000 products", "pandas"), ("predict 1,000 products", "joblib"), ("15 categories", "scikit-learn")


def test_each_way_is_done_in_each_round_in_turn() -> None:
    """So that what else the machine does meets all alike; those that take long are done once."""
    done: list[str] = []
    ways = {name: lambda name=name: done.append(name) for name in ("a", "b", "slow")}
    seconds = in_turn(ways, 3, once=["slow"])
    assert done == ["a", "b", "slow", "b", "a", "a", "b"]
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3, "slow": 1}


def test_ratios_are_read_from_what_was_written() -> None:
    """Of each way but this project, from every table; and so are the sections: one may be measured anew."""
    memory = render_section(MEMORY_HEAD, [Weight(15, 3_000_000, 1_500_000)], "another machine")
    sections = {"Products": render_section(HEAD, [ROWS], "some machine"), "Memory": memory}
    text = render(sections)
    assert read_sections(text) == sections
    assert read_ratios(text) == dict(zip(KINDS, (2.0, 0.5, 2.0), strict=True))
    assert "| predict 1,000 products | bc4all | 3.0 | 2.0 to 4.0 | 3 | 1.00 |  |" in text
    assert "| predict 1,000 products | pandas | 6.0 | 6.0 to 6.0 | 1 | 2.00 | 1.0000 |" in text


def test_a_loss_of_more_than_a_fifth_is_told() -> None:
    """A part that was left out is no loss; a ratio without an older one to compare with is reported."""
    before = dict(zip(KINDS, (2.0, 0.5, 2.0), strict=True))
    assert lost(before, {KINDS[0]: 1.61, KINDS[1]: 0.41}) == []
    assert lost(before, {KINDS[0]: 1.59, KINDS[1]: 0.6}) == [
        "predict 1,000 products, pandas: 1.59 times as much as bc4all, was 2.0"
    ]
    assert lost(before, {("train 10 clients", "joblib"): 0.5}) == [
        "train 10 clients, joblib: 0.50 times as much as bc4all, was not measured"
    ]


def test_a_figure_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    """Else each measurement would change all of them."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        draw_lines(tmp_path / folder / "a.svg", [10, 100], {OURS: [1, 2], "other": [3, 30]}, "x", "y")
    one, two = ((tmp_path / folder / "a.svg").read_text() for folder in ("one", "two"))
    assert one == two
    assert "bc4all" in one


def test_counts_are_those_of_the_set_that_they_stand_for() -> None:
    """Equal calls give equal products: sparse counts with a long tail, in nine categories of very unlike shares."""
    products = count_products(3_000)
    assert products.equals(count_products(3_000))
    counts = products.drop(columns=["product_id", "category_id"])
    assert counts.shape == (3_000, FEATURES)
    assert 0.6 < (counts == 0).mean().mean() < 0.85
    assert counts.min().min() == 0
    assert counts.max().max() > 100
    shares = products["category_id"].value_counts(normalize=True).sort_index()
    assert abs(shares.to_numpy() - SHARES).max() < 0.05
