"""Photograph the demo's pages for the README, docs/site-fleet.png and docs/site-client.png: `make screenshots`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "dist" / "site"
PICTURES = {"site-fleet.png": "index.html", "site-client.png": "clients/client_0.html"}
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Write both pictures. Ends with a message where there is no browser."""
    program = shutil.which("chromium")
    if not program:
        sys.exit("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light")
        for picture, page in PICTURES.items():
            tab.goto((SITE / page).as_uri())
            tab.screenshot(path=ROOT / "docs" / picture)
        browser.close()


if __name__ == "__main__":
    main()
