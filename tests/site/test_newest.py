"""The newest date's products on a client's page, from parquet files that are real, beside plain pandas."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bc4all.cli.main import main
from bc4all.data.published import refusals
from bc4all.errors import TransientFailure
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.layout import Layout
from bc4all.registry.champions import Change
from bc4all.site import newest
from bc4all.site.client import ModelFacts
from bc4all.site.client_page import client_context
from bc4all.site.fleet import ClientFacts, job_facts
from bc4all.site.newest import Predictions, Product, read_predictions
from bc4all.site.newest_page import MAX_DATA_BYTES, browsable, newest_context
from bc4all.site.pages import render
from tests.conftest import make_client
from tests.site.test_report import NASTY, NOW, Page, configure, publish, report

TODAY = Day(NOW.date().isoformat())


def ranked(ids: list[str], labels: list[str], seed: int = 1) -> pd.DataFrame:
    """Five categories for each product, the best first; few different scores, so that many are equal."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 51, (len(ids), 5)) / 50, axis=1)[:, ::-1].astype(np.float32)
    best = np.stack([rng.permutation(labels)[:5] for _ in ids])
    return pd.DataFrame(
        {
            "product_id": np.repeat(ids, 5),
            "pred_label": best.ravel(),
            "pred_score": scores.ravel(),
            "rank": np.tile(np.arange(5, dtype=np.int32), len(ids)),
        }
    )


def deliver(prefix: Path, client_id: str, rows: pd.DataFrame, files: int = 1, **facts: object) -> None:
    """Publish rows as a date's files, of some row groups each, with its manifest."""
    publish(prefix, client_id, TODAY, **facts)
    folder = prefix / "products_categories" / f"client_id={client_id}" / f"date={TODAY}"
    for number in range(files):
        part = pa.Table.from_pandas(rows[number::files], preserve_index=False)  # a product's rows lie apart
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=700)


def refuse(prefix: Path, client_id: str, content: str) -> None:
    folder = prefix / "quarantine" / "prediction" / f"client_id={client_id}" / f"date={TODAY}"
    folder.mkdir(parents=True)
    (folder / "_manifest.json").write_text(content)


def data_of(script: str) -> dict[str, list[object]]:
    """What a client's script assigns."""
    start, _, content = script.partition(" = ")
    assert start == "globalThis.bc4allProducts"
    data: dict[str, list[object]] = json.loads(content.rstrip().removesuffix(";"))
    return data


def test_its_figures_are_those_of_the_whole_date(prefix: Path) -> None:
    """The same as pandas has of all rows at once."""
    rows = ranked([f"p{number}" for number in range(2500)], list("abcdefgh"))
    deliver(prefix, "a", rows, files=3)
    predictions = read_predictions(Layout.from_environment(), ClientId("a"), TODAY)
    assert predictions is not None
    best = rows[rows["rank"] == 0]
    assert predictions.products == len(best)
    assert predictions.mean_score == pytest.approx(best["pred_score"].mean(), abs=1e-6)
    bins = pd.cut(best["pred_score"], np.linspace(0, 1, 11, dtype=np.float32), right=False).cat.codes
    assert predictions.histogram == bins.replace(-1, 9).value_counts().reindex(range(10), fill_value=0).tolist()
    assert predictions.categories == best["pred_label"].value_counts().to_dict()
    lowest = best.sort_values(["pred_score", "product_id"])["product_id"].head(newest.LEAST_CERTAIN)
    assert [one.id for one in predictions.least_certain] == lowest.tolist()
    assert len(predictions.sample) == 2500
    for one in predictions.sample[::97]:
        mine = rows[rows["product_id"] == one.id]
        assert list(one.best) == list(zip(mine["pred_label"], mine["pred_score"].astype(float), strict=True))


def test_of_many_products_a_sample_can_be_browsed(
    prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so; it is the same one the next time, and of no part of the file alone."""
    monkeypatch.setattr(newest, "SAMPLED", 100)
    ids = [f"{number:04}" for number in range(2000)]
    deliver(prefix, "a", ranked(ids, list("abcdef")), files=2)
    config = configure(prefix, ["a"])
    report(tmp_path / "site", config)
    text = (tmp_path / "site" / "clients" / "a.html").read_text()
    assert f"A sample of 100 of the 2,000 products of {TODAY}" in text
    script = (tmp_path / "site" / "clients" / "a.js").read_text()
    sampled = [str(row[0]) for row in data_of(script)["products"]]  # type: ignore[index]
    assert (len(sampled), sampled) == (100, sorted(sampled))
    assert len({one[:2] for one in sampled}) > 15
    report(tmp_path / "again", config)
    assert (tmp_path / "again" / "clients" / "a.js").read_text() == script


def test_the_data_holds_each_products_categories(prefix: Path, tmp_path: Path) -> None:
    """By their places among the labels, with scores in thousandths."""
    rows = ranked(["x", "y", "z"], list("abcdefgh"))
    deliver(prefix, "a", rows)
    report(tmp_path / "site", configure(prefix, ["a"]))
    data = data_of((tmp_path / "site" / "clients" / "a.js").read_text())
    for product_id, *answers in data["products"]:  # type: ignore[misc]
        mine = rows[rows["product_id"] == product_id]
        assert [data["labels"][place] for place in answers[::2]] == mine["pred_label"].tolist()
        assert answers[1::2] == (1000 * mine["pred_score"]).round().astype(int).tolist()


@pytest.mark.parametrize("name", ["x" * 300, "ü" * 200, "<" * 100], ids=["long", "of two bytes", "escaped"])
def test_the_data_is_small_whatever_the_names_are(name: str) -> None:
    """At most 1 MB, as a file; the page says how many products that are."""
    sample = [
        Product(f"{name}{number}", [(f"{name}{number + place}", 0.2) for place in range(5)]) for number in range(5000)
    ]
    predictions = Predictions(TODAY, 5000, 0.2, [0, 0, 5000, *[0] * 7], {name: 5000}, sample[:25], sample)
    products = browsable(predictions, "a.js")
    assert 0.95 * MAX_DATA_BYTES < len(products.script.encode()) <= MAX_DATA_BYTES
    assert len(data_of(products.script)["products"]) == products.products
    browse = newest_context(predictions, {}, {}, None, products)["browse"]
    assert f"A sample of {products.products:,} of the 5,000 products" in browse["sentence"]


def test_a_page_is_small_however_many_categories_there_are() -> None:
    """At most 300 kB; it says what is left out."""
    names = [f"Household > Kitchen > Things of the {number:04}th kind" for number in range(5000)]
    figures = {"rows": "12", "precision": "0.9", "recall": "0.9", "f1": "0.9", "top_5": "0.9"}
    tables = {
        "categories_held_out.csv": [{"category": name, **figures} for name in names],
        "confused_held_out.csv": [{"category": name, "predicted": names[0], "rows": "4"} for name in names[1:101]],
    }
    sample = [Product(f"{name} {name}", [(name, 0.2)] * 5) for name in names]
    predictions = Predictions(TODAY, 5000, 0.2, [0, 0, 5000, *[0] * 7], dict.fromkeys(names, 1), sample[:25], sample)
    model, client = ModelFacts([], {}, [], tables, None), make_client("a")
    facts = ClientFacts(client, {job: job_facts(client, job, [], False, NOW) for job in SCHEDULED_JOBS}, None, (), None)
    context = client_context(facts, [], model, NOW, False)
    context |= newest_context(predictions, {}, {}, model, browsable(predictions, "a.js"))
    text = render("client.html.jinja", **context)
    assert len(text.encode()) < 300_000
    assert "Each of the 5,000 categories has an F1 of 0.5 or more; the 500 weakest are shown." in text
    assert "4,900 further categories not shown." in text


def test_shares_stand_beside_those_of_training() -> None:
    """What has changed most comes first; a category that came, or went, has none on the other side."""
    best = {"same": 50, "more": 40, "new": 10}
    product = Product("x", [("same", 0.5)])
    predictions = Predictions(TODAY, 100, 0.5, [0] * 5 + [100] + [0] * 4, best, [product], [product])
    training = [{"category": "same", "rows": "400"}, {"category": "gone", "rows": "300"}]
    held_out = [{"category": "same", "rows": "100"}, {"category": "more", "rows": "200"}]
    tables = {"categories_training.csv": training, "categories_held_out.csv": held_out}
    model = ModelFacts([], {}, [Change(1, "", "")], tables, None)
    shares = newest_context(predictions, {}, {}, model, None)["shares"]
    assert [(row.category, row.now, row.then) for row in shares["rows"]] == [
        ("gone", 0.0, 0.3),
        ("more", 0.4, 0.2),
        ("new", 0.1, 0.0),
        ("same", 0.5, 0.5),
    ]
    assert shares["sentence"] == (
        "gone has changed most: 0.0% of the products have it now, 30.0% of those that the champion was trained on; "
        "no product has 1 of the 4 categories now."
    )
    alone = newest_context(predictions, {}, {}, None, None)["shares"]
    assert [(row.category, row.then) for row in alone["rows"]] == [("same", None), ("more", None), ("new", None)]
    assert alone["sentence"].startswith("same is the most frequent category, with 50.0% of the products.")


def test_refused_rows_are_counted_by_reason(prefix: Path, tmp_path: Path) -> None:
    """The most frequent first, with the part of all rows that they are."""
    config = configure(prefix, ["a", "b"])
    deliver(prefix, "a", ranked(["x"], list("abcde")), rows_in=200, rows_quarantined=30)
    refuse(prefix, "a", json.dumps({"reasons": {"f0 is no number": 10, NASTY: 20}}))
    deliver(prefix, "b", ranked(["x"], list("abcde")), rows_in=200, rows_quarantined=0)
    report(tmp_path / "site", config)
    page = Page(tmp_path / "site" / "clients" / "a.html")
    assert [row for row in page.rows if row.endswith((" 10 ", " 20 "))] == [f"{NASTY} 20 ", "f0 is no number 10 "]
    assert "30 of 200 rows (15.0%) refused, most often for: " in (tmp_path / "site/clients/a.html").read_text()
    assert "None of 200 rows was refused." in (tmp_path / "site/clients/b.html").read_text()


@pytest.mark.parametrize("content", ["", "{", "{}"], ids=["empty", "cut off", "without reasons"])
def test_a_quarantine_that_cannot_be_read_has_no_reasons(prefix: Path, content: str) -> None:
    refuse(prefix, "a", content)
    assert refusals(Layout.from_environment(), ClientId("a"), TODAY) == {}
    assert refusals(Layout.from_environment(), ClientId("b"), TODAY) == {}


def test_markup_in_ids_and_categories_is_text(prefix: Path, tmp_path: Path) -> None:
    """On the page, and in the script's data, which a page never ends."""
    labels = [f"{NASTY}</script>{letter}" for letter in "abcde"]
    rows = ranked([f"{NASTY}{number}" for number in range(30)], labels)
    deliver(prefix, "a", rows)
    report(tmp_path / "site", configure(prefix, ["a"]))
    page = Page(tmp_path / "site" / "clients" / "a.html")
    assert [attributes.get("src") for tag, attributes in page.tags if tag in ("img", "script")] == ["../script.js"]
    assert sum(row.startswith(NASTY) and labels[0] in row for row in page.rows) > 40
    script = (tmp_path / "site" / "clients" / "a.js").read_text()
    assert "<" not in script
    assert {row[0] for row in data_of(script)["products"]} == set(rows["product_id"])  # type: ignore[index]


def test_files_that_cannot_be_read_are_told_and_read_again(prefix: Path, tmp_path: Path) -> None:
    """The other clients have their pages; a date without files has a page without figures."""
    config, site = configure(prefix, ["a", "b", "c"]), tmp_path / "site"
    rows = ranked([f"p{number}" for number in range(40)], list("abcdef"))
    for client_id in ("a", "b"):
        deliver(prefix, client_id, rows)
    publish(prefix, "c", TODAY)
    (file,) = (prefix / "products_categories" / "client_id=a").rglob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:100])
    words = ["report", "--out", str(site), "--config", str(config)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert f"a: the categories of {TODAY} cannot be read" in done.stderr
    assert {one.name for one in (site / "clients").iterdir()} == {"b.html", "b.js", "c.html"}
    assert 'id="scores"' not in (site / "clients" / "c.html").read_text()
    alone = CliRunner().invoke(main, [*words[:1], "--client-id", "a", "--out", str(tmp_path / "a"), *words[3:]])
    assert (alone.exit_code, "cannot be read" in alone.stderr) == (75, True)
    file.write_bytes(content)
    assert report(site, config).startswith("3 clients, 1 page written anew, ")
    assert (site / "clients" / "a.js").exists()
    report(site, configure(prefix, ["a"]))
    assert {one.name for one in (site / "clients").iterdir()} == {"a.html", "a.js"}


def test_a_date_that_is_replaced_meanwhile_is_told(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counts and its products would be those of two predictions."""
    layout, before = Layout.from_environment(), ranked([f"p{number}" for number in range(40)], list("abcdef"))
    deliver(prefix, "a", before)
    (file,) = prefix.rglob("*.parquet")
    read = newest.read_ranked

    def replacing(*words: object) -> object:
        if len(words) > 3:  # the second look, at some products
            pq.write_table(pa.Table.from_pandas(before[:100], preserve_index=False), file)
        return read(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(newest, "read_ranked", replacing)
    with pytest.raises(TransientFailure, match="were replaced while they were read"):
        read_predictions(layout, ClientId("a"), TODAY)


def test_a_date_that_is_replaced_by_the_same_products_is_told(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction that is done again has another manifest: its page is written by the next report."""
    config, rows = configure(prefix, ["a"]), ranked([f"p{number}" for number in range(40)], list("abcdef"))
    deliver(prefix, "a", rows)
    (manifest,) = prefix.rglob("_manifest.json")
    read = newest.read_ranked

    def replacing(*words: object) -> object:
        manifest.write_text(manifest.read_text().replace('"model_version": 1', '"model_version": 2'))
        return read(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(newest, "read_ranked", replacing)
    done = CliRunner().invoke(main, ["report", "--config", str(config), "--out", str(prefix / "site")])
    assert (done.exit_code, "were replaced while they were read" in done.stderr) == (1, True)


@pytest.mark.parametrize(("column", "value"), [("pred_score", np.nan), ("pred_label", None)])
def test_a_product_without_a_category_or_score_is_a_fault_of_its_client(
    prefix: Path, tmp_path: Path, column: str, value: object
) -> None:
    """Its page is not written, and says so; all others are."""
    config, rows = configure(prefix, ["a", "b"]), ranked(["one", "two"], list("abcde"))
    deliver(prefix, "b", rows)
    spoilt = rows.copy()
    spoilt.loc[0, column] = value
    deliver(prefix, "a", spoilt)
    done = CliRunner().invoke(main, ["report", "--config", str(config), "--out", str(tmp_path / "site")])
    assert (done.exit_code, "has no id, category or score" in done.stderr) == (1, True)
    assert [file.name for file in (tmp_path / "site" / "clients").glob("*.html")] == ["b.html"]


def test_a_page_that_is_sent_has_its_own_products_alone(prefix: Path, tmp_path: Path) -> None:
    """Whatever the client is called: the data stands in for no script of the page."""
    config, out = configure(prefix, ["script", "other"]), tmp_path / "to be sent"
    deliver(prefix, "script", ranked(["mine"], list("abcde")))
    deliver(prefix, "other", ranked(["others"], ["theirs", *"abcd"]))
    for _ in range(2):
        report(out, config, "--client-id", "script")
    files = {file.name: file.read_text() for file in out.iterdir()}
    assert set(files) == {"script.html", "products.js", "style.css", "script.js"}
    assert data_of(files["products.js"])["products"][0][0] == "mine"  # type: ignore[index]
    assert 'data-products="products.js"' in files["script.html"]
    assert [name for name, text in files.items() if "others" in text or "theirs" in text] == []
