"""The fleet's pages, from a history, manifests and an MLflow that are real."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from bc4all.cli.main import main
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.layout import Layout
from bc4all.learning.suspects import Suspect, Suspects
from bc4all.registry.champions import Change
from bc4all.registry.tracking import Tracking, tracking_uri
from bc4all.schedule.history import History, Run, iso
from bc4all.site.client import DayFacts, ModelFacts, day_facts, table_rows
from bc4all.site.client_page import client_context
from bc4all.site.fleet import ClientFacts, job_facts
from bc4all.site.newest_page import newest_context
from bc4all.site.pages import render
from bc4all.state import State
from tests.conftest import ROOT, make_client

NOW = datetime.now(UTC).replace(microsecond=0)
NASTY = "<img src=x onerror=alert(1)>&\"'</td>"
SITE = ROOT / "bc4all" / "site"


class Page(HTMLParser):
    """A page's tags, and the text in each row of its tables."""

    def __init__(self, file: Path | None = None, text: str = "") -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self._inside = False
        self.feed(file.read_text() if file else text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self._inside = True
            self.rows.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.rows[-1] += f"{data.strip()} "


@pytest.fixture
def history(prefix: Path) -> Iterator[History]:
    opened = History(State.from_environment(Layout.from_environment()).history)
    yield opened
    opened.close()


def configure(prefix: Path, clients: Sequence[str] | dict[str, object]) -> Path:
    """A configuration whose jobs are due once a day."""
    every = clients if isinstance(clients, dict) else dict.fromkeys(clients)
    timing = {"schedule": f"0 {(NOW.hour + 12) % 24} * * *"}  # far from now: nothing becomes due while a test runs
    defaults = {"features": ["f0"], "train": timing, "predict": timing, "timezone": "UTC"}
    file = prefix / "clients.yaml"
    file.write_text(json.dumps({"defaults": defaults, "clients": every}))
    return file


def note(
    history: History, client_id: str, job: str, at: datetime, state: str = "done", seconds: float = 9, **values: object
) -> None:
    """A run in the history."""
    day = at.date().isoformat()
    run = history.add(ClientId(client_id), job, Day(day), at.isoformat(), "schedule")
    assert run is not None
    ended = iso(at.timestamp() + seconds)
    history.update([run.id], state=state, started=iso(at.timestamp()), ended=ended, **values)


def note_all(history: History, client_id: str, **values: object) -> None:
    """Both jobs' runs of the last days, the latest an hour ago at most."""
    for job in ("train", "predict"):
        for days in range(3):
            note(history, client_id, job, NOW - timedelta(days=days, minutes=1), **values)  # type: ignore[arg-type]


def publish(prefix: Path, client_id: str, day: str, **facts: object) -> None:
    """A partition's manifest."""
    folder = prefix / "products_categories" / f"client_id={client_id}" / f"date={day}"
    folder.mkdir(parents=True)
    told = {"rows_in": 100, "rows_quarantined": 3, "model_version": 1, "backfilled": False, **facts}
    (folder / "_manifest.json").write_text(json.dumps(told))


def report(out: Path, config: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["report", "--out", str(out), "--config", str(config), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def row_of(page: Page, client_id: str) -> str:
    (row,) = [row for row in page.rows if row.startswith(f"{client_id} ")]
    return row


def test_a_fleet_is_shown_whole_what_wants_a_person_first(prefix: Path, history: History, tmp_path: Path) -> None:
    """Each client once, with its reason; the counts lead to the first of their rows, with scripts and without."""
    config = configure(prefix, ["calm", "failing", "late", "new"])
    for client_id in ("calm", "failing"):
        note_all(history, client_id)
    note(history, "failing", "predict", NOW, "failed", error="no room on the disk")
    note(history, "late", "predict", NOW - timedelta(days=3))
    said = report(tmp_path / "site", config)
    assert said.startswith("4 clients, 4 pages written anew, ")
    assert said.rstrip().endswith((tmp_path / "site" / "index.html").as_uri())
    page = Page(tmp_path / "site" / "index.html")
    ids = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert ids == ["tonight.html", "#state=failing", "#state=late", "#state=without-champion"] + [
        f"clients/{client_id}.html" for client_id in ("failing", "late", "calm", "new")
    ]
    anchors = [attributes["id"] for tag, attributes in page.tags if tag == "tr" and "id" in attributes]
    assert anchors == ["state=failing", "state=late", "state=without-champion"]
    assert "predict: no room on the disk" in row_of(page, "failing")
    assert "predict was due" in row_of(page, "late")
    assert "without champion" in row_of(page, "new")


@pytest.mark.slow
@pytest.mark.starts_from("published_sample")
def test_a_real_clients_page_says_what_its_training_and_its_dates_were(prefix: Path, tmp_path: Path) -> None:
    """Its version, its categories, its published date: of a client that was trained and predicted."""
    config = configure(prefix, ["client_0"])
    report(tmp_path / "site", config)
    page = Page(tmp_path / "site" / "clients" / "client_0.html")
    text = (tmp_path / "site" / "clients" / "client_0.html").read_text()
    assert any(row.startswith("1 champion ") and "RandomForest" in row for row in page.rows)
    categories = [row for row in page.rows if re.fullmatch(r"\S+ \d+( [01]\.\d+){4} ", row)]
    assert len(categories) > 3
    for part in ('class="curve"', 'id="scores"', 'id="shares"', 'id="least-certain"', 'id="confused"', 'id="browse"'):
        assert part in text
    assert re.search(r"Of the \d+ held-out products? of ", text)
    assert "version 1 became" not in text
    assert "there is no champion" in text


def test_a_page_is_written_again_when_something_has_changed(prefix: Path, history: History, tmp_path: Path) -> None:
    """Nothing new: no page; a run, a date, one that was filled in, a pause: its client's alone; one has left: none."""
    config, site = configure(prefix, ["a", "b"]), tmp_path / "site"
    note_all(history, "a")
    assert report(site, config).startswith("2 clients, 2 pages written anew, ")
    assert report(site, config).startswith("2 clients, 0 pages written anew, ")
    note(history, "b", "predict", NOW, "failed", error="the first")
    assert report(site, config).startswith("2 clients, 1 page written anew, ")
    assert "the first" in (site / "clients" / "b.html").read_text()
    publish(prefix, "a", NOW.date().isoformat())
    assert report(site, config).startswith("2 clients, 1 page written anew, ")
    publish(prefix, "a", (NOW - timedelta(days=9)).date().isoformat(), backfilled=True)
    assert report(site, config).startswith("2 clients, 1 page written anew, ")
    day = Day((NOW - timedelta(days=9)).date().isoformat())
    history.add(ClientId("a"), "predict", day, NOW.isoformat(), "backfill")
    assert report(site, config).startswith("2 clients, 1 page written anew, ")
    history.pause(ClientId("a"), "train", NOW.isoformat())
    assert report(site, config).startswith("2 clients, 1 page written anew, ")
    assert report(site, configure(prefix, ["a"])).startswith("1 client, 0 pages written anew, ")
    assert [file.name for file in (site / "clients").iterdir()] == ["a.html"]


def test_a_clients_own_page_names_no_other_client(prefix: Path, history: History, tmp_path: Path) -> None:
    """It can be sent to that client: no file of the folder holds another one's id, a label, or what operators read."""
    labels = {"labels": {"plan": "cheapest"}}
    config = configure(prefix, {"client_a": labels, "client_b": labels})
    for client_id in ("client_a", "client_b"):
        note_all(history, client_id, note="for operators")
        publish(prefix, client_id, NOW.date().isoformat())
    out = tmp_path / "for a"
    assert report(out, config, "--client-id", "client_a").strip() == (out / "client_a.html").as_uri()
    files = {file.name: file.read_text() for file in out.rglob("*")}
    assert set(files) == {"client_a.html", "style.css", "script.js"}
    for word in ("client_b", "index.html", "cheapest", "for operators", "bc4all backfill"):
        assert [name for name, text in files.items() if word in text] == []
    report(out, config, "--client-id", "client_a")
    report(tmp_path / "site", config)
    for folder in (out, tmp_path / "site"):
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        done = CliRunner().invoke(
            main, ["report", "--config", str(config), "--client-id", "client_b", "--out", str(folder)]
        )
        assert (done.exit_code, "the folder holds other files than this client's" in done.output) == (2, True)
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_folder_of_other_files_is_left_alone(prefix: Path, tmp_path: Path) -> None:
    """A web server's root, say: nothing in it is replaced."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("mine")
    words = ["report", "--config", str(configure(prefix, ["a"])), "--out", str(tmp_path / "www")]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, "the folder is not empty" in done.output) == (2, True)
    assert (tmp_path / "www" / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", '{"rows_in": 5}', "{}"],
    ids=["none", "empty", "cut off", "a list", "without refused rows", "without counts"],
)
def test_a_manifest_that_cannot_be_read_hides_nothing(prefix: Path, tmp_path: Path, content: str | None) -> None:
    """Every client has its page, with the newest date that can be read."""
    config = configure(prefix, ["a", "b"])
    days = [(NOW - timedelta(days=number)).date().isoformat() for number in (0, 1)]
    publish(prefix, "a", days[0])
    publish(prefix, "a", days[1])
    manifest = prefix / "products_categories" / "client_id=a" / f"date={days[0]}" / "_manifest.json"
    if content is None:
        manifest.unlink()
    else:
        manifest.write_text(content)
    assert report(tmp_path / "site", config).startswith("2 clients, 2 pages written anew, ")
    newest = days[0] if content in ("{}", '{"rows_in": 5}') else days[1]
    assert newest in row_of(Page(tmp_path / "site" / "index.html"), "a")


def test_another_teams_models_are_no_clients(prefix: Path, tmp_path: Path) -> None:
    """In a store that is shared: of any name, with any tags and aliases."""
    config = configure(prefix, ["a"])
    layout = Layout.from_environment()
    client = Tracking(tracking_uri(layout), layout).client
    for name, tagged in (("their model", "a"), ("Shop 1_model", "Shop 1"), ("b_model", "a")):
        client.create_registered_model(name, tags={"client_id": tagged})
        client.create_model_version(name, str(tmp_path))
        client.set_registered_model_alias(name, "champion", "1")
    report(tmp_path / "site", config)
    assert "without champion" in row_of(Page(tmp_path / "site" / "index.html"), "a")


def test_a_champion_whose_run_is_gone_has_its_version_alone(prefix: Path, tmp_path: Path) -> None:
    """MLflow's clean-up has removed it, say: the page is there, without the tables that the run kept."""
    config = configure(prefix, ["a"])
    layout = Layout.from_environment()
    client = Tracking(tracking_uri(layout), layout).client
    client.create_registered_model("a_model", tags={"client_id": "a"})
    client.create_model_version("a_model", str(tmp_path), run_id="0" * 32)
    client.set_registered_model_alias("a_model", "champion", "1")
    report(tmp_path / "site", config)
    page = Page(tmp_path / "site" / "clients" / "a.html")
    assert any(row.startswith("1 champion ") for row in page.rows)
    assert "There is no champion whose categories are known." in (tmp_path / "site/clients/a.html").read_text()


@pytest.mark.parametrize("schedule", ["* * * * *", "59 23 * * *", "0 0 * * *"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_each_date_is_due_once_however_often_it_is(prefix: Path, schedule: str, zone: str) -> None:
    """In the client's own days, over a change of its clock, too."""
    client = make_client("a", predict={"schedule": schedule}, timezone=zone)
    now = datetime(2026, 4, 20, 15, 30, tzinfo=UTC)
    run = Run(1, ClientId("a"), "predict", Day("2026-01-01"), now.isoformat(), 1, "schedule", "done", 0.0)
    days = [one.day for one in day_facts(Layout.from_environment(), client, [], [run], set(), now)]
    assert days == sorted(set(days))
    first = date.fromisoformat(days[0])
    assert days == [(first + timedelta(days=number)).isoformat() for number in range(len(days))]
    assert len(days) in (60, 61)
    assert days[-1] >= "2026-04-19"


def test_what_is_delivered_is_text_on_a_page(prefix: Path, history: History, tmp_path: Path) -> None:
    """Markup in an error, a note or a label is shown as it is."""
    config = configure(prefix, {"a": {"labels": {"plan": NASTY}}})
    note(history, "a", "predict", NOW, "failed", error=NASTY)
    note(history, "a", "train", NOW, note=NASTY)
    report(tmp_path / "site", config)
    for file in ("index.html", "clients/a.html"):
        page = Page(tmp_path / "site" / file)
        assert "img" not in {tag for tag, _ in page.tags}
        assert any(NASTY in row for row in page.rows)


def test_a_date_is_published_missing_failed_backfilled_or_outdated(
    prefix: Path, history: History, tmp_path: Path
) -> None:
    """Each date of the last weeks from the first one on."""
    config = configure(prefix, ["a"])
    days = [(NOW - timedelta(days=number)).date().isoformat() for number in (5, 4, 3, 2)]
    publish(prefix, "a", days[0])
    publish(prefix, "a", days[1], backfilled=True)
    note(history, "a", "predict", datetime.fromisoformat(f"{days[2]}T06:00:00+00:00"), "failed")
    report(tmp_path / "site", config)
    text = re.sub(r"<[^>]+>|\s+", " ", (tmp_path / "site" / "clients" / "a.html").read_text())
    text = re.sub(r" +", " ", text)
    for day, state in zip(days, ("published, version 1", "backfilled, version 1", "failed", "missing"), strict=True):
        assert f"{day} {state}" in text
    assert f"bc4all backfill --client-id a --from {days[2]} --to" in text
    there = [Day(days[0]), Day(days[1])]
    client = make_client("a", predict={"schedule": "0 6 * * *"}, timezone="UTC")
    facts = day_facts(Layout.from_environment(), client, there, [], {1}, NOW)
    assert [one.state for one in facts[:2]] == ["outdated", "outdated"]
    disabled = client.model_copy(update={"enabled": False})
    assert [one.day for one in day_facts(Layout.from_environment(), disabled, there, [], set(), NOW)] == there


def test_what_is_learned_from_is_text_on_a_page() -> None:
    """Markup in a category, a product's id or its title is shown as it is."""
    suspect = Suspect(NASTY, NASTY, 0.1, NASTY, 0.9, NASTY, NASTY)
    row = {"category": NASTY, "rows": "3", "precision": "1", "recall": "1", "f1": "1", "top_5": "1"}
    client = make_client("a")
    jobs = {job: job_facts(client, job, [], False, NOW) for job in SCHEDULED_JOBS}
    facts = ClientFacts(client, jobs, None, (), None)
    tables = {"categories_held_out.csv": [row]}
    model = ModelFacts([], {}, [], tables, Suspects(9, 9, 0, 1, (suspect,)))
    context = client_context(facts, [], model, NOW, False) | newest_context(None, {}, {}, model, None)
    page = Page(text=render("client.html.jinja", **context))
    assert "img" not in {tag for tag, _ in page.tags}
    assert sum(text.count(NASTY) for text in page.rows) == 6


def test_a_category_without_held_out_products_hides_no_other() -> None:
    """It was predicted for others' products: it has no top-5 accuracy, and none of its own says how it is answered."""
    content = b"category,rows,precision,recall,f1,top_5\na,2,1,0.5,0.7,1\nb,0,0,0,0,\n"
    rows = table_rows("categories_held_out.csv", content)
    assert [(row["category"], row["top_5"]) for row in rows] == [("a", "1"), ("b", "")]
    client = make_client("a")
    jobs = {job: job_facts(client, job, [], False, NOW) for job in SCHEDULED_JOBS}
    model = ModelFacts([], {}, [], {"categories_held_out.csv": rows}, None)
    context = client_context(ClientFacts(client, jobs, None, (), None), [], model, NOW, False)
    assert [row["category"] for row in context["categories"]] == ["a"]
    assert table_rows("categories_held_out.csv", content.replace(b"0.7", b"")) == []


@pytest.mark.parametrize("rows", [b"x", b"nan", b"inf", b"", b"1e400"])
def test_a_spoilt_table_is_left_out(rows: bytes) -> None:
    """One client's, whatever became of it, ends no other's page; numbers may be written as pandas writes them."""
    content = b"category,rows,precision,recall,f1,top_5\na,%b,1,0.5,0.7,1\n"
    assert table_rows("categories_held_out.csv", content % rows) == []
    assert table_rows("categories_held_out.csv", (content % b"12.0").replace(b"\na", b"\n\ra"))
    (row,) = table_rows("categories_held_out.csv", content % b"12.0")
    assert row["rows"] == "12"


def test_a_version_that_was_taken_back_is_outdated_until_it_is_champion_again() -> None:
    """By how champions came and went."""

    def back(*changes: tuple[int, bool]) -> set[int]:
        return ModelFacts([], {}, [Change(number, "", "", taken) for number, taken in changes], {}, None).rolled_back

    assert back((1, False), (2, False)) == set()
    assert back((1, False), (2, False), (1, True)) == {2}
    assert back((1, False), (2, False), (1, True), (3, False)) == {2}
    assert back((1, False), (2, False), (1, True), (2, False)) == set()


def test_what_predicts_outdated_dates_again_is_on_the_operators_page_alone() -> None:
    """A page for the client itself names no command."""
    client = make_client("a")
    one = ClientFacts(client, {job: job_facts(client, job, [], False, NOW) for job in SCHEDULED_JOBS}, None, (), None)
    days = [DayFacts(Day("2026-03-01"), "outdated", {"model_version": 2})]
    said = {alone: client_context(one, days, None, NOW, alone)["days_said"] for alone in (False, True)}
    assert "made by a version that was taken back since" in said[True]
    assert "bc4all" not in said[True]
    assert "(to predict them again: bc4all backfill --client-id a --outdated)" in said[False]


@pytest.mark.parametrize("file", sorted(SITE.glob("templates/*")), ids=lambda file: file.name)
def test_a_strict_policy_finds_nothing_to_refuse(file: Path) -> None:
    """No style, script or handler stands in a page: its policy takes files of its own alone."""
    text = file.read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! src=)|javascript:|\| *safe(?! if not loop)", text)


def test_the_script_is_small_and_writes_text_alone() -> None:
    text = (SITE / "static" / "script.js").read_text()
    assert len(text.splitlines()) <= 300
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|import ", text)


@pytest.mark.slow
def test_a_thousand_clients_fit_on_a_page(prefix: Path, history: History, tmp_path: Path) -> None:
    """1,000 clients x 2 jobs x 30 runs in at most 1.5 MB, a client's page in 300 kB."""
    ids = [f"merchant_{number:04}" for number in range(1000)]
    config = configure(prefix, {client_id: {"labels": {"plan": "gold", "country": "de"}} for client_id in ids})
    states = ["done"] * 9 + ["failed"]
    with history.transaction():
        for place, client_id in enumerate(ids):
            for job in ("train", "predict"):
                for days in range(30, 0, -1):
                    state, at = states[(place + days) % 10], NOW - timedelta(days=days - 1, minutes=1)
                    note(history, client_id, job, at, state, error="x" * 200 if state == "failed" else None)
    report(tmp_path / "site", config)
    page = tmp_path / "site" / "index.html"
    assert page.stat().st_size < 1_500_000
    assert len([row for row in Page(page).rows if row.startswith("merchant_")]) == 1000
    assert max(file.stat().st_size for file in (tmp_path / "site" / "clients").iterdir()) < 300_000
