"""Render the sections of a run as one self-contained HTML page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from culnig.files import write_text
from culnig.formatting import at_floor, format_number, format_p

if TYPE_CHECKING:
    from culnig.studies import SavedRun, Section

WRAPPED, WRAPPED_IF_WIDE = 48, 20
"""Longer texts of a column may wrap over several lines; the second limit holds in tables wider than `FITS`."""
FITS = 100
"""Number of characters in a row of a table that is as wide as the page."""


def render_report(directory: SavedRun, sections: list[Section], manifest: dict[str, Any]) -> Path:
    """Write `report.html` and `figures/*.json` of a run; return the page's path.

    jinja2 escapes everything that comes from data or model names (autoescape).
    """
    from jinja2 import Environment, PackageLoader, select_autoescape
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("culnig.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    blocks = []
    for s, section in enumerate(sections):
        figures = []
        for f, (caption, figure) in enumerate(section.figures):
            name = f"{s + 1}-{f + 1}"
            text = figure.to_json()
            write_text(directory.path / "figures" / f"{name}.json", text)
            figures.append({"id": f"figure-{name}", "caption": caption, "json": in_script(text)})
        tables = [
            _table(name, section.titles[name], frame)
            for name, frame in section.tables.items()
            if name in section.titles
        ]
        blocks.append({"title": section.title, "text": section.text, "figures": figures, "tables": tables})
    page = environment.get_template("report.html.j2").render(
        title=f"{manifest['model']['model']}: culture neurons",
        claim=[section.claim for section in sections if section.claim],
        findings=[finding for section in sections for finding in section.findings],
        sections=blocks,
        run=_run_facts(manifest),
        config=json.dumps(directory.config.model_dump(mode="json"), indent=1, ensure_ascii=False),
        style=(resources.files("culnig.report") / "templates" / "style.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        name=directory.config.name,
    )
    path = directory.path / "report.html"
    write_text(path, page)
    return path


def in_script(text: str) -> str:
    """Return JSON that is safe inside a script element and reads back equal.

    "</script" would end the element, and "<!--<script" would hide its end.  In JSON, "<" occurs only within strings,
    where its escape has the same meaning.
    """
    return text.replace("<", "\\u003c")


def _table(name: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    shown = [
        column for column in frame.columns if not str(column).startswith("p_floor")
    ]  # said by "≤" in the cells of p
    columns = [str(column).replace("_", " ") for column in shown]
    rows = [[_cell(row[column], column, row) for column in shown] for row in frame.to_dict("records")]
    widest = [max((len(row[c]["text"]) for row in rows), default=0) for c in range(len(columns))]
    limit = WRAPPED if sum(widest) <= FITS else WRAPPED_IF_WIDE
    for row in rows:
        for cell, width in zip(row, widest, strict=True):
            cell["wrap"] = not cell["number"] and width > limit
    return {"name": name, "title": title, "columns": columns, "rows": rows, "long": len(rows) > 12}


def _cell(value: Any, column: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    if isinstance(value, float):
        if value != value:
            return {"text": "", "number": True}
        test = re.fullmatch(r"p(?:_adjusted)?( \(.*\))?", str(column))
        if test and at_floor(row, test[1] or ""):
            return {"text": format_p(value, at_most=True), "number": True}
        small = column == "score" or (re.match(r"p\b|p_", str(column)) is not None and column != "p_gold")
        return {"text": format_number(value, ".2g" if small else ".3f"), "number": True}
    if isinstance(value, int) or hasattr(value, "dtype"):
        return {"text": f"{int(value):,}", "number": True}
    return {"text": str(value), "number": False}


def _run_facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    versions = manifest["versions"]
    data = ", ".join(f"{name} ({entry.get('items')})" for name, entry in manifest["data"].items())
    prompts = manifest["prompts"]
    machine = manifest["machine"]
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
        ("Finished", manifest["finished"]),
        ("Versions", ", ".join(f"{package} {version}" for package, version in versions.items())),
        ("Again", "culnig run config.yaml   (config.yaml is in this folder)"),
    ]
