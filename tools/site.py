"""What mkdocs changes in a page before it is rendered: the pages are written for GitHub, whose Markdown is more lenient."""

from __future__ import annotations

import re
from typing import Any

ENTRY = re.compile(r"\s*([-*]|\d+\.) ")


def on_page_markdown(markdown: str, **context: Any) -> str:
    """Return a page without its marks for the tests and without links into the source and the examples; a list begins a paragraph."""
    text = re.sub(r"^<!-- .*? -->\n", "", markdown, flags=re.MULTILINE)
    # The site does not hold the source.
    text = re.sub(r"\[([^\]\n]+)\]\((?:\.\./)+(?:src|examples)/[^)\n]*\)", r"\1", text)
    return "\n".join(_with_blank_lines(text.split("\n")))


def _with_blank_lines(lines: list[str]) -> list[str]:
    """Return the lines with a blank one before each list that follows a paragraph."""
    found: list[str] = []
    fenced = in_list = False
    for line in lines:
        if line.lstrip().startswith("```"):
            fenced = not fenced
        before = found[-1] if found else ""
        entry = not fenced and ENTRY.match(line)
        if entry and before.strip() and not in_list and not before.startswith(("#", "|")):
            found.append("")
        in_list = bool(entry) or (in_list and bool(line.strip()))
        found.append(line)
    return found
