"""Tables of the page: cells as text, links to neurons, and the same table as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from culnig.formatting import at_floor, format_number, format_p

WRAPPED, WRAPPED_IF_WIDE = 48, 20
"""Longer texts of a column may wrap over several lines; the second limit holds in tables wider than `FITS`."""
FITS = 100
"""Number of characters in a row of a table that is as wide as the page."""
LONG = 12
"""A table with more rows is folded at first."""
FORMULA = re.compile(r"^[=+\-@\t\r]")
"""Beginning of a text that a spreadsheet would take as a formula."""


def table_block(name: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    """Return what the template shows of a table."""
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
    return {"name": name, "title": title, "columns": columns, "rows": rows, "long": len(rows) > LONG}


def csv_of(frame: pd.DataFrame) -> str:
    """Return a table as CSV in full precision, in which no text can be taken for a formula."""
    safe = frame.rename(columns=lambda name: _guarded(str(name)))
    for position, column in enumerate(safe.columns):
        if not pd.api.types.is_numeric_dtype(safe.iloc[:, position]):
            safe = safe.assign(**{column: [_guarded(value) for value in safe.iloc[:, position]]})
    return safe.to_csv(index=False)


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def neuron_key(module: Any, layer: Any, index: Any) -> str:
    """Return the name by which the page links to a neuron's card: "mlp.gate_proj.3.17"."""
    return f"{module}.{int(layer)}.{int(index)}"


def _cell(value: Any, column: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    cell = _text(value, column, row)
    if column == "neuron" and {"module", "layer"} <= row.keys() and cell["number"]:
        cell["neuron"] = neuron_key(row["module"], row["layer"], value)
    elif column == "country" and not cell["number"]:
        cell["country"] = cell["text"]
    return cell


def _text(value: Any, column: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    if isinstance(value, float):
        if value != value:
            return {"text": "", "number": True}
        test = re.fullmatch(r"p(?:_adjusted)?( \(.*\))?", str(column))
        if test and at_floor(row, test[1] or ""):
            return {"text": format_p(value, at_most=True), "number": True, "value": value}
        small = column == "score" or (re.match(r"p\b|p_", str(column)) is not None and column != "p_gold")
        return {"text": format_number(value, ".2g" if small else ".3f"), "number": True, "value": value}
    if isinstance(value, int) or hasattr(value, "dtype"):
        return {"text": f"{int(value):,}", "number": True, "value": int(value)}
    return {"text": str(value), "number": False}
