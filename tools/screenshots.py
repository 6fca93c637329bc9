"""Take the pictures of the report that the docs show: `python -m tools.screenshots RUN [FOLDER]`.

RUN is the folder of a finished quickstart.  Playwright drives the Chromium of the system.  A picture is an address of the page,
a scheme of colours, a window, and what stands at its top.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Picture(NamedTuple):
    """One picture: the page's address, the entry to open (CSS), the text at the top, the colours and the window."""

    address: str
    open: str = ""
    top: str = ""
    scheme: str = "light"
    width: int = 1000
    height: int = 900


PICTURES = {
    "report": Picture("#overview"),
    "report-guarded": Picture("#overview", top="side by side", height=1000),
    "report-where": Picture("#where", height=1000),
    "report-where-published": Picture("#where", top="Beside the published findings", height=620),
    "report-neuron": Picture("#neurons", open="[data-card] >> nth=3", height=1000),
    "report-questions-dark": Picture("#questions", open="[data-question] >> nth=0", scheme="dark", height=850),
    "report-countries-phone": Picture("#countries", width=390, height=844),
    "report-sure": Picture("#sure"),
    "report-run": Picture("#run", height=700),
}


def take(page_path: Path, folder: Path) -> list[Path]:
    """Take all pictures of a report; return their files."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit("no Chromium on this machine: install the package chromium")
    written = []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, picture in PICTURES.items():
            size = {"width": picture.width, "height": picture.height}
            context = browser.new_context(viewport=size, color_scheme=picture.scheme, offline=True)
            page = context.new_page()
            page.goto(f"{page_path.resolve().as_uri()}{picture.address}")
            page.wait_for_selector(f"{picture.address}.current")
            if picture.open:
                entry = page.locator(f"{picture.address} {picture.open}")
                entry.locator("summary").first.click()
                entry.evaluate("node => window.scrollTo(0, node.getBoundingClientRect().top + window.scrollY - 108)")
            if picture.top:
                place = page.locator(picture.address).get_by_text(picture.top).first
                place.evaluate("node => window.scrollTo(0, node.getBoundingClientRect().top + window.scrollY - 108)")
            page.wait_for_timeout(2500)  # figures are drawn when they come into sight
            page.screenshot(path=folder / f"{name}.png")
            written.append(folder / f"{name}.png")
            context.close()
        browser.close()
    return written


if __name__ == "__main__":
    for path in take(Path(sys.argv[1]) / "report.html", Path(sys.argv[2]) if len(sys.argv) > 2 else DOCS):
        print(path)
