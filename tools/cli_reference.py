"""Write docs/reference/cli.md from the command line's own help: `python -m tools.cli_reference`.  A test compares the two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
TOP = """# Command line

This page is made by `python -m tools.cli_reference` from what `--help` says. Do not edit it.

Every verb takes `--help`. Errors are one line on stderr, with exit code 2 for a wrong use and 1 for anything else.
"""
ARGUMENTS, OPTIONS = "Arguments", "Options"
"""Panels of the arguments, and of the options that name none."""


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every verb that does something, with its full name, in the order of `--help`; hidden ones are left out."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for verb, below in command.commands.items():
        if not below.hidden:
            yield from commands(below, f"{name} {verb}")


def page() -> str:
    """Return the whole page as Markdown."""
    from culnig.cli._app import app

    verbs = list(commands(typer.main.get_command(app), "culnig"))
    index = [f"| [`{name}`](#{anchor(name)}) | {cell(first_sentence(verb.help))} |" for name, verb in verbs]
    parts = [TOP, "\n".join(["| verb | what it does |", "|---|---|", *index])]
    parts += [section(name, verb) for name, verb in verbs]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def anchor(name: str) -> str:
    """Return the anchor of a verb's heading."""
    return re.sub(r"[^\w\- ]", "", name).replace(" ", "-")


def section(name: str, verb: Any) -> str:
    """Return the section of one verb: what it does, how it is called, and its options by panel."""
    context = typer.Context(verb, info_name=name)
    usage = " ".join(verb.collect_usage_pieces(context))
    parts = [f"## {name}", plain(verb.help or ""), f"```text\n{name} {usage}\n```"]
    panels: dict[str, list[str]] = {}
    for one in verb.params:
        record = one.get_help_record(context)
        if record is None or "--help" in one.opts:
            continue
        panel = ARGUMENTS if one.param_type_name == "argument" else getattr(one, "rich_help_panel", None) or OPTIONS
        panels.setdefault(panel, []).append(f"| {names(record[0])} | {cell(record[1])} |")
    for panel in sorted(panels, key=lambda name: {ARGUMENTS: 0, OPTIONS: 1}.get(name, 2)):
        parts.append("\n".join([f"| {panel} | |", "|---|---|", *panels[panel]]))
    if verb.epilog:
        lines = re.split(r"\s{2,}|\n", re.sub(r"^Examples?:\s*", "", plain(verb.epilog)).strip())
        parts.append("```text\n" + "\n".join(line for line in lines if line) + "\n```")
    return "\n\n".join(part for part in parts if part)


def names(record: str) -> str:
    """Return the names of a parameter as code, each apart: "`-o`, `--out <path>`"."""
    return ", ".join(f"`{name}`" for name in record.split(", "))


def first_sentence(text: str | None) -> str:
    """Return a help text up to the end of its first sentence."""
    return re.split(r"(?<=\.)\s", plain(text or ""), maxsplit=1)[0].replace("\n", " ")


def plain(text: str) -> str:
    """Return help without the marks that typer reads, and with its angle brackets shown."""
    text = re.sub(r"\[/?(?:bold|dim|italic|cyan|green|red|yellow)\]", "", text.replace("\f", "").replace("\b", ""))
    return re.sub(r"<([\w-]+)>", r"&lt;\1&gt;", text)


def cell(text: str) -> str:
    """Return text that fits a cell of a table."""
    return plain(" ".join(text.split())).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
