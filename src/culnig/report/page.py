"""Render the sections of a run as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.files import write_text
from culnig.report.embedding import in_script, packed_json, plotly_for, source
from culnig.report.picture import first_picture
from culnig.report.questions import MOST_ROWS, question_data
from culnig.report.sets import set_counts
from culnig.report.tables import csv_of, table_block
from culnig.report.verdict import Verdict, verdict_of
from culnig.studies import TABS

if TYPE_CHECKING:
    from culnig.studies import SavedRun, Section

SCRIPTS = ("base.js", "figures.js", "tables.js", "where.js", "neurons.js", "questions.js", "start.js")
ROOM = 1_200_000
"""Characters of compressed data that the page may hold; fewer questions are shown where there would be more."""
PICTURE_CAPTION = (
    "Share of questions answered correctly, with 95 % intervals. Each grey dot is a random set of as many neurons of the"
    " same kind."
)


def render_report(
    directory: SavedRun,
    sections: list[Section],
    manifest: dict[str, Any],
    *,
    stages: Sequence[tuple[str, bool]] = (),
) -> Path:
    """Write `report.html` and `figures/*.json` of a run; return the page's path.

    jinja2 escapes everything that comes from data or model names (autoescape).

    Args:
        directory: the run.
        sections: those of the studies that are done, in their order.
        manifest: what manifest.json holds, or will hold.
        stages: stages of an unfinished run, and whether each is done; its figures are not written.
    """
    unfinished = any(not done for _, done in stages)
    for s, section in enumerate(sections if not unfinished else []):
        for f, (_, figure) in enumerate(section.figures):
            write_text(directory.path / "figures" / f"{s + 1}-{f + 1}.json", figure.to_json())
    model = manifest["model"]["model"]
    verdict, picture = _top(directory, sections, model)
    apps = {"cards": cards_of(sections), "sets": set_counts(directory)}
    return write_page(
        directory.path / "report.html",
        sections,
        tuple(TABS),
        lambda most: apps | {"questions": question_data(directory, most)},
        title=f"{model}: culture neurons",
        name=directory.config.name,
        verdict=verdict,
        picture=picture,
        stages=stages if unfinished else (),
        run=run_facts(manifest),
        config=json.dumps(directory.config.model_dump(mode="json"), indent=1, ensure_ascii=False),
    )


def write_page(
    path: Path,
    sections: Sequence[Section],
    tabs: Sequence[str],
    apps: Callable[[int], dict[str, Any]],
    **facts: Any,
) -> Path:
    """Write one page that stands alone; return its path.

    Args:
        path: the file.
        sections: what the tabs show.
        tabs: names of the tabs, in their order.
        apps: most rows of questions -> what cards, sets and the question browser are made of.
        **facts: what else the template shows: title, name, verdict, picture, stages, run, config.
    """
    shown: dict[str, dict[str, Any]] = {name: {"title": TABS[name], "blocks": []} for name in tabs}
    tables: dict[str, str] = {}
    kinds: set[str] = set()
    for s, section in enumerate(sections):
        for tab, block in _blocks(section, s).items():
            shown[tab]["blocks"].append(block)
        kinds |= {trace.type for _, figure in section.figures for trace in figure.data}
        tables |= {name: csv_of(section.tables[name]) for name in section.titles if name in section.tables}
    page = _template().render(
        claim=[section.claim for section in sections if section.claim],
        findings=[finding for section in sections for finding in section.findings],
        tabs=shown,
        style=source("style.css"),
        code="\n".join(source(name) for name in SCRIPTS),
        plotly=plotly_for(kinds),
        data=_fitting(tables, apps),
        **facts,
    )
    write_text(path, page)
    return path


def _template(name: str = "report.html.j2") -> Any:
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("culnig.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _fitting(tables: dict[str, str], apps: Callable[[int], dict[str, Any]]) -> str:
    """Return all data, packed; with fewer questions where all of them do not fit."""
    most = MOST_ROWS
    while True:
        text = packed_json({"tables": tables} | apps(most))
        if len(text) <= ROOM or most < 100:
            return text
        most //= 2


def cards_of(sections: list[Section]) -> list[dict[str, Any]]:
    """Return the neuron cards of all studies, joined by neuron, with how often resampled items choose each."""
    cards: dict[str, dict[str, Any]] = {}
    for section in sections:
        for card in section.cards:
            cards[card["key"]] = cards.get(card["key"], {}) | card
    for section in sections:
        if (table := section.tables.get("stability-frequency")) is None:
            continue
        first = table[table["method"] == table["method"].iloc[0]]
        for row in first.to_dict("records"):
            if (key := f"{row['module']}.{row['layer']}.{row['neuron']}") in cards:
                cards[key]["frequency"] = row["frequency"]
    return sorted(cards.values(), key=lambda card: card["rank"])


def _blocks(section: Section, number: int) -> dict[str, dict[str, Any]]:
    """Return tab -> what the section shows there; its text stands on its own tab."""
    blocks: dict[str, dict[str, Any]] = {}

    def on(tab: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"title": section.title, "id": f"s{number + 1}-{tab}"}
        return blocks.setdefault(tab, empty | {"text": [], "figures": [], "tables": []})

    on(section.tab)["text"] = section.text
    for f, (caption, figure) in enumerate(section.figures):
        meta = figure.layout.meta if isinstance(figure.layout.meta, dict) else {}
        place = meta.get("tab", section.tab)
        name = f"{number + 1}-{f + 1}"
        on(place)["figures"].append(figure_of(f"figure-{name}", caption, figure))
    for name, frame in section.tables.items():
        if name in section.titles:
            on(section.places.get(name, section.tab))["tables"].append(table_block(name, section.titles[name], frame))
    return blocks


def figure_of(name: str, caption: str, figure: Any) -> dict[str, str]:
    """Return what the template shows of a figure."""
    return {"id": name, "caption": caption, "json": in_script(figure.to_json())}


def _top(directory: SavedRun, sections: list[Section], model: str) -> tuple[Verdict | None, dict[str, str] | None]:
    """Return the verdict and the first picture, where the culture-general study is done."""
    for section in sections:
        if section.study == "culture_general" and "drop" in section.numbers:
            power = section.tables["power"]
            known = dict(zip(power["test"], power["smallest_drop"], strict=True))
            verdict = verdict_of(section.numbers, model, directory.config.operation, known)
            changed = "off" if directory.config.operation == "suppress" else "changed"
            figure = first_picture(section.tables["accuracy"], changed)
            return verdict, figure_of("first-picture", PICTURE_CAPTION, figure)
    return None, None


def run_facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the tab "How it was run" lists."""
    versions = manifest["versions"]
    data = ", ".join(f"{name} ({entry.get('items')})" for name, entry in manifest["data"].items())
    prompts = manifest["prompts"]
    machine = manifest["machine"]
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in manifest["seconds"].items() if name != "total")
    return [
        (
            "Model",
            f"{manifest['model']['model']}, {manifest['model']['dtype']}, hash {manifest['model']['model_hash']}",
        ),
        (
            "Prompts",
            f"formulation {prompts['formulation']}, chat template {prompts['chat_template']}, BOS {prompts['bos']}",
        ),
        ("Data", data),
        ("Seed", str(manifest["seed"])),
        ("Time", f"{manifest['seconds'].get('total', 0):.0f} s on {machine['cores']} cores ({machine['system']})"),
        *([("Stages", stages)] if stages else []),
        ("Finished", manifest["finished"]),
        ("Versions", ", ".join(f"{package} {version}" for package, version in versions.items())),
        ("Again", "culnig run config.yaml   (config.yaml is in this folder)"),
    ]
