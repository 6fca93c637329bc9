"""Put data and code into the page: escaped where they stand as text, compressed where they are large."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

CARTESIAN = frozenset(
    [
        "bar",
        "box",
        "contour",
        "heatmap",
        "histogram",
        "histogram2d",
        "histogram2dcontour",
        "image",
        "pie",
        "scatter",
        "scatterternary",
        "violin",
    ]
)
"""Kinds of traces that the small bundle of plotly.js draws."""


def in_script(text: str) -> str:
    """Return JSON that is safe inside a script element and reads back equal.

    "</script" would end the element, and "<!--<script" would hide its end.  In JSON, "<" occurs only within strings,
    where its escape has the same meaning.
    """
    return text.replace("<", "\\u003c")


def packed(data: bytes) -> str:
    """Return bytes as gzip in base64: characters that mean nothing to HTML.  The page unpacks them itself."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def packed_json(value: Any) -> str:
    """Return a JSON value, packed."""
    return packed(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())


def plotly_for(kinds: Iterable[str]) -> str:
    """Return the code of plotly.js, packed: the bundle for plain charts, or all of it if a trace needs more."""
    if set(kinds) <= CARTESIAN:
        return packed((resources.files("culnig.report") / "vendor" / "plotly-cartesian.min.js").read_bytes())
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode())


def source(name: str) -> str:
    """Return the text of a file of the templates."""
    return (resources.files("culnig.report") / "templates" / name).read_text(encoding="utf-8")
