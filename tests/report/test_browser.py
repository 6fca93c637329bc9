"""The page in a real browser: opened from disk, every tab, search, filters, addresses, phone, dark, print, accessibility."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_config

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'culnig[browser]'")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: install the package chromium"),
]
TABS = ("overview", "where", "neurons", "questions", "countries", "sure", "run")
SIZES = {"desktop": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    """A whole run on the tiny model, with neuron cards."""
    config = write_config(tmp_path_factory.mktemp("config"), reference_dir)
    studies = [
        "studies=[culture_general, guarded_beside, culture_specific, neuron_cards, layers]",
        "neuron_cards.top=6",
    ]
    return run(load_config(config, [*studies, "neuron_cards.alone=2"]), tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, finished):
    """A function that opens the page at an address; at the end nothing may have gone wrong in it."""
    wrong, contexts = [], []

    def opened(address="", size="desktop", scheme="light", path=finished.path / "report.html"):
        context = chromium.new_context(viewport=SIZES[size], color_scheme=scheme, accept_downloads=True, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto(f"{Path(path).as_uri()}{address}")
        page.wait_for_selector("body.js")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def drawn(page):
    """Wait until a figure of the tab that is shown has been drawn."""
    page.wait_for_selector(".panel.current .plot .main-svg", state="visible")


def test_every_tab_opens_and_draws(visit):
    page = visit()
    for tab in TABS:
        page.click(f'nav a[href="#{tab}"]')
        page.wait_for_selector(f"#{tab}.current")
        assert page.locator(".panel:visible").count() == 1
        assert page.locator('nav a[aria-current="page"]').get_attribute("href") == f"#{tab}"
        if page.locator(".panel.current .plot").count():
            drawn(page)
    page.go_back()
    page.wait_for_selector("#sure.current")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(visit, size, scheme):
    page = visit(size=size, scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for tab in TABS:
        page.evaluate("tab => { location.hash = tab }", tab)
        page.wait_for_selector(f"#{tab}.current")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab


def test_the_switch_changes_colours_of_page_and_figures(visit):
    page = visit()
    drawn(page)
    ink = page.evaluate("getComputedStyle(document.body).color")
    text = "document.querySelector('#first-picture .xtick text').style.fill"
    before = page.evaluate(text)
    page.click("#theme")
    page.wait_for_function(f"{text} !== {before!r}")
    assert page.evaluate("getComputedStyle(document.body).color") != ink


def test_questions_are_searched_filtered_and_have_addresses(visit, finished):
    from culnig.evaluation import EvalResult

    page = visit("#questions")
    page.wait_for_selector("[data-question]")
    results = {
        name: EvalResult.load(finished.path / f"evals/test/{name}.parquet").rows for name in ("none", "culture-general")
    }
    before, after = (results[name]["correct"] for name in ("none", "culture-general"))
    page.select_option("#q-test", "test")
    page.select_option("#q-outcome", "lost")
    assert page.inner_text("#questions .count").startswith(f"{int((before & ~after).sum())} of")
    page.select_option("#q-country", "Iran")
    iran = results["none"]["country"] == "Iran"
    assert page.inner_text("#questions .count").startswith(f"{int((before & ~after & iran).sum())} of")
    page.select_option("#q-outcome", "all")
    page.fill("#q-search", "no such words")
    assert page.inner_text("#questions .count").startswith("0 of")
    page.fill("#q-search", "")
    entry = page.locator("[data-question]").first
    entry.locator("summary").click()
    address = entry.get_attribute("data-question")
    shown = re.findall(r"([\d.]+) %", entry.locator("tr.gold").inner_text())
    row = results["none"][results["none"]["id"] == address.split("&")[1]].iloc[0]
    assert float(shown[0]) == pytest.approx(100 * row["p_gold"], abs=0.06)
    again = visit(f"#question={address}")
    target = again.wait_for_selector(".entry.target[open]")
    assert target.get_attribute("data-question") == address


def test_cards_are_searched_and_have_addresses(visit, finished):
    import pandas as pd

    page = visit("#neurons")
    page.wait_for_selector("[data-card]")
    assert page.locator("[data-card]").count() == min(50, len(finished.neurons("culture-general")))
    lens = pd.read_parquet(finished.path / "measured/neuron_cards/lens.parquet").dropna(subset=["token"])
    row = lens.iloc[0]
    page.fill("#card-search", row["token"].strip())
    keys = [each.get_attribute("data-card") for each in page.locator("[data-card]").all()]
    assert row["key"] in keys
    page.fill("#card-search", "no such neuron")
    assert page.inner_text("#neurons .count").startswith("0 of")
    again = visit(f"#neuron={row['key']}")
    again.wait_for_selector(".entry.target[open] .main-svg")
    assert again.locator(".entry.target .tokens span").count() > 5
    assert (
        "Silenced alone" in visit(f"#neuron={_first(finished)}").wait_for_selector(".entry.target .body").inner_text()
    )


def _first(finished):
    neuron = max(finished.neurons("culture-general").scores.items(), key=lambda pair: pair[1])[0]
    return f"{neuron.module}.{neuron.layer}.{neuron.index}"


def test_tables_link_to_cards_and_sort(visit):
    page = visit("#neurons")
    link = page.wait_for_selector('[data-table="top-neurons"] td[data-neuron] a', state="attached")
    column = page.locator('[data-table="top-neurons"] th button', has_text="score")
    page.locator("details", has=page.locator('[data-table="top-neurons"]')).evaluate("each => { each.open = true }")
    column.click()
    scores = [float(cell) for cell in page.locator('[data-table="top-neurons"] td:nth-child(5)').all_inner_texts()]
    assert scores == sorted(scores)
    link.click()
    page.wait_for_selector(".entry.target[open]")


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_figures_and_tables_come_as_files(visit, finished, tmp_path, kind):
    page = visit()
    drawn(page)
    with page.expect_download() as download:
        page.locator(f'#overview [data-export="{kind}"]').first.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    data = path.read_bytes()
    assert path.suffix == f".{kind}" and len(data) > 100
    assert data.startswith({"png": b"\x89PNG", "svg": b"<svg", "csv": b"series,x,y"}[kind])
    if kind == "csv":
        with page.expect_download() as download:
            page.locator('[data-csv="accuracy"]').click()
        download.value.save_as(path)
        assert path.read_text() == (finished.path / "tables/accuracy.csv").read_text()


def test_it_prints_all_tabs_on_white(visit, tmp_path):
    page = visit(scheme="dark")
    drawn(page)
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "page.pdf").stat().st_size > 20_000
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(
        "document.querySelectorAll('.plot .main-svg').length >= document.querySelectorAll('.plot').length"
    )
    page.wait_for_function(
        "[...document.querySelectorAll('.plot .xtick text')].every((each) => each.style.fill === 'rgb(31, 36, 48)')"
    )
    page.emulate_media(media="print")
    assert page.locator(".panel:visible").count() == len(TABS)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_keyboard_reaches_tabs_and_entries(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(2 + TABS.index("questions")):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the switch and the tabs before it have been passed
    page.wait_for_selector("#questions.current [data-question]")
    page.locator("[data-question] summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("[data-question][open]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(visit, finished, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: pip install 'culnig[browser]'")
    for address in (*(f"#{tab}" for tab in TABS), f"#neuron={_first(finished)}"):
        page = visit(address, scheme=scheme)
        page.wait_for_selector("[data-question]", state="attached")
        page.wait_for_timeout(300)
        found = axe.Axe().run(page).response["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], address


def test_hostile_names_stay_text_in_the_browser(visit, finished, tmp_path):
    """What questions, cards and tables hold never becomes an element or a script."""
    import pandas as pd

    from culnig.report.page import write_page
    from culnig.studies import Section

    nasty = "</script><img src=x onerror=\"console.error('run')\">"
    section = Section(nasty, text=[nasty], tables={"t": pd.DataFrame({"country": [nasty]})}, titles={"t": nasty})
    answers = {"right": [1], "chosen": [0], "p": [0.9], "options": [[0.9, 0.1]]}
    question = {key: [nasty] for key in ("ids", "wordings", "countries", "topics", "prompts")}
    question |= {"options": [[nasty, "b"]], "gold": [0], "untouched": answers, "conditions": {nasty: answers}}
    question |= {
        "main": nasty,
        "before": nasty,
        "random": [],
        "leftOut": 0,
        "name": nasty,
        "label": nasty,
        "overVocabulary": False,
    }
    card = {"key": "m.0.1", "module": nasty, "layer": 0, "index": 1, "rank": 1, "score": 0.1, "sets": [nasty]}
    card |= {"countries": [[nasty, 0.1]], "promoted": [[nasty, 1.0]], "demoted": [[nasty, 1.0]], "direction": ""}
    sets = {"modules": {"m": [4]}, "sets": {nasty: {"m": [1]}}, "leftOut": 0}
    apps = {"cards": [card], "sets": sets, "questions": [question]}
    facts = {"title": nasty, "name": nasty, "run": [(nasty, nasty)], "config": nasty}
    path = write_page(tmp_path / "page.html", [section], TABS, lambda most: apps, **facts)
    page = visit("#neuron=m.0.1", path=path)
    page.wait_for_selector(".entry.target .body")
    page.evaluate("location.hash = 'questions'")
    page.locator("[data-question] summary").click()
    page.wait_for_selector("[data-question] .body")
    assert page.locator("img").count() == 0 and page.title() == nasty


def test_pictures_for_the_docs(finished, tmp_path):
    """Every picture of the docs can be taken, has its window's size, and is not an empty page."""
    from tools.screenshots import PICTURES

    # In a process of its own: this one already has Playwright's loop of the other tests.
    command = [sys.executable, "-m", "tools.screenshots", str(finished.path), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    written = [Path(line) for line in done.stdout.splitlines()]
    assert [path.stem for path in written] == list(PICTURES)
    for path in written:
        data, picture = path.read_bytes(), PICTURES[path.stem]
        assert struct.unpack(">II", data[16:24]) == (picture.width, picture.height)
        assert len(data) > 12_000  # an empty page packs to a few kB
