"""The pages in a real browser: from disk, by eye and by ear, with scripts and without, small and large, light and dark.

The layout is held by its boxes, not by pixels.
"""

import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from bc4all.layout import Layout
from bc4all.schedule.history import History
from bc4all.state import State
from tests.site.test_newest import deliver, ranked
from tests.site.test_report import NASTY, NOW, configure, note, note_all, publish, report

pytestmark = pytest.mark.slow
PAGES = ("index.html", "tonight.html", "clients/plain.html", "clients/failing.html")
LOOKS: Sequence[dict[str, Any]] = (
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"forced_colors": "active"},
)
# What sticks out of its cell, or out of the page.
OVERFLOW = """() => [
  ...(document.documentElement.scrollWidth > innerWidth ? ["the page"] : []),
  ...[...document.querySelectorAll("table th, table td")]
    .filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent.trim()),
]"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium: Playwright brings none of its own."""
    program = shutil.which("chromium")
    if not program:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"]
        )  # which root must do without
        yield opened
        opened.close()


@pytest.fixture
def site(prefix: Path, tmp_path: Path) -> Path:
    """Four clients' pages: fine, failing with markup in all that people write, never run, with a very long id."""
    nasty = {"labels": {"plan": NASTY, "country": "de"}}
    config = configure(prefix, {"plain": {"labels": {"plan": "gold"}}, "failing": nasty, "new": {}, "x" * 60: {}})
    history = History(State.from_environment(Layout.from_environment()).history)
    for client_id in ("plain", "failing", "x" * 60):
        note_all(history, client_id)
    note(history, "failing", "predict", NOW, "failed", error=f"{NASTY} {'long ' * 40}{'unbroken' * 30}")
    history.close()
    for days in (1, 3):
        publish(prefix, "plain", (NOW - timedelta(days=days)).date().isoformat())
    products = ["12345", NASTY, "=cmd", *(f"product {number} {'long' * 30}" for number in range(60))]
    deliver(prefix, "plain", ranked(products, [NASTY, "x" * 90, *"abcd"]))
    report(tmp_path / "site", config)
    return tmp_path / "site"


def opened(browser: Browser, file: Path, **settings: Any) -> tuple[Page, list[str]]:
    """Return a page, and the list that its errors and warnings come to."""
    context = browser.new_context(**settings)
    page, faults = context.new_page(), list[str]()
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"not loaded: {request.url}"))
    page.goto(file.as_uri())
    return page, faults


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: "-".join(look.values()))
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_page_is_whole_in_every_setting(
    browser: Browser, site: Path, look: dict[str, Any], width: int, scripts: bool
) -> None:
    """No error, no violation of its own policy, nothing that sticks out; each table stands there with its rows."""
    for name in PAGES:
        size = {"width": width, "height": 900}
        page, faults = opened(browser, site / name, viewport=size, java_script_enabled=scripts, **look)
        assert faults == [], name
        assert page.evaluate(OVERFLOW) == [], name
        assert page.locator("tbody tr:visible").count() > 0, name
        assert page.locator("img").count() == 0, name
        page.context.close()


@pytest.mark.parametrize("look", LOOKS[:2], ids=lambda look: "-".join(look.values()))
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_can_be_read_by_everybody(browser: Browser, site: Path, look: dict[str, Any], width: int) -> None:
    """By axe's rules: contrast, names, order, roles."""
    for name in PAGES:
        page, _ = opened(browser, site / name, viewport={"width": width, "height": 900}, **look)
        violations = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == [], name
        page.context.close()


def test_what_is_shown_stands_in_the_address(browser: Browser, site: Path) -> None:
    """A count filters, a search narrows, going back widens, and an address that was sent shows the same."""
    page, faults = opened(browser, site / "index.html")
    names = page.locator("#clients tbody tr:visible th[scope=row] a")
    expect(names).to_have_count(4)
    page.get_by_role("link", name="1 failing").click()
    expect(names).to_have_text(["failing"])
    expect(page.locator("#shown")).to_have_text("1")
    sent = page.url
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#shown")).to_have_text("4")
    page.get_by_label("Search").fill("GOLD")
    expect(names).to_have_text(["plain"])
    page.goto("about:blank")
    page.goto(sent)
    expect(names).to_have_text(["failing"])
    assert faults == []


def test_products_are_searched_for(browser: Browser, site: Path) -> None:
    """By part of an id or of a category, in data that comes when it is asked for; markup is text."""
    page, faults = opened(browser, site / "clients" / "plain.html")
    form, rows = page.locator("#browse"), page.locator("#products-shown tr")
    expect(rows).to_have_count(20)
    form.get_by_label("Search").fill("234")
    form.get_by_role("button").click()
    expect(rows).to_have_count(1)
    expect(rows.locator("th")).to_have_text(["12345"])
    form.get_by_label("Search").fill("onerror")
    expect(rows.locator("th").filter(has_text=NASTY)).to_have_count(1)
    assert page.locator("img").count() == 0
    assert faults == []


def test_a_table_is_sorted_and_grouped_by_keyboard(browser: Browser, site: Path) -> None:
    """Heads are buttons; screen readers hear the order, and the table stays a table for them."""
    page, faults = opened(browser, site / "index.html")
    rows = page.locator("#clients tbody th[scope=row] a")
    head = page.get_by_role("button", name="client")
    head.focus()
    page.keyboard.press("Enter")
    assert rows.all_inner_texts() == ["failing", "new", "plain", "x" * 60]
    assert page.get_by_role("columnheader", name="client").get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert rows.all_inner_texts() == ["x" * 60, "plain", "new", "failing"]
    assert page.get_by_role("columnheader", name="client").get_attribute("aria-sort") == "descending"
    assert (page.get_by_role("row").count(), page.get_by_role("rowheader").count()) == (5, 4)
    page.get_by_label("Group by").select_option("plan")
    assert page.locator("tr.group").all_inner_texts() == [f"plan: {NASTY} (1)", "plan: gold (1)", "plan: – (2)"]
    assert faults == []
