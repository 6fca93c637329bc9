"""A view: text, figures and tables, and how they are shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.formatting import format_number

OPEN_ROWS, OPEN_COLUMNS = 12, 8
"""A longer or wider table is folded."""
SMALL = 0.01
"""A smaller number is written with two digits that count."""
STYLE = "max-width:60em;line-height:1.45"


@dataclass
class View:
    """What is shown of a thing.

    Attributes:
        title: heading, plain text.
        text: paragraphs, plain text.
        figures: (caption, plotly figure).
        tables: heading -> table.
    """

    title: str
    text: list[str] = field(default_factory=list)
    figures: list[tuple[str, go.Figure]] = field(default_factory=list)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def html(self) -> str:
        """Return heading, paragraphs and tables as HTML; all that comes from data is escaped."""
        return self.head_html() + "".join(table_html(title, table) for title, table in self.tables.items())

    def head_html(self) -> str:
        """Return heading and paragraphs as HTML."""
        paragraphs = "".join(f"<p>{escape(text)}</p>" for text in self.text)
        return f'<div style="{STYLE}"><h4>{escape(self.title)}</h4>{paragraphs}</div>'

    def plain(self) -> str:
        """Return everything but the figures as text; they are named by their captions."""
        parts = [self.title, *self.text, *(f"[figure] {caption}" for caption, _ in self.figures)]
        parts += [f"{title}\n{rounded(table).to_string(index=False)}" for title, table in self.tables.items()]
        return "\n\n".join(parts)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its numbers as text: three digits, thousands marked, nothing for a missing number.

    Numbers of neurons are names and have no mark.  The least p-values that tests can give are left to the saved tables.
    """
    kept = table[[column for column in table.columns if not str(column).startswith("p_floor")]]
    shown = {column: kept[column].map(str if column == "neuron" else _cell) for column in kept.columns}
    return pd.DataFrame(shown).rename(columns=lambda name: str(name).replace("_", " "))


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return (
            ""
            if np.isnan(value)
            else format_number(float(value), ".3f" if value == 0 or abs(value) >= SMALL else ".2g")
        )
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{int(value):,}"
    return str(value)


def table_html(title: str, table: pd.DataFrame) -> str:
    """Return a table under its heading as HTML, folded where it is long."""
    body = rounded(table).to_html(index=False, escape=True, border=0)
    opened = " open" if len(table) <= OPEN_ROWS and len(table.columns) <= OPEN_COLUMNS else ""
    return f'<details{opened}><summary>{escape(title)}</summary><div style="overflow-x:auto">{body}</div></details>'


def on_paper(figure: go.Figure) -> go.Figure:
    """Return a copy on white: the report sets the colour behind its figures, and a notebook may be dark."""
    return go.Figure(figure).update_layout(paper_bgcolor="#ffffff", plot_bgcolor="#ffffff")


def in_jupyter() -> bool:
    """Return whether this process is the kernel of a notebook; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def display(view: View) -> None:
    """Show a view: as HTML and plotly figures in Jupyter, else as text on stdout."""
    if not in_jupyter():
        print(view.plain())
        return
    from IPython.display import HTML
    from IPython.display import display as show

    show(HTML(view.head_html()))
    for caption, figure in view.figures:
        show(HTML(f'<p style="{STYLE}"><em>{escape(caption)}</em></p>'))
        on_paper(figure).show()
    for title, table in view.tables.items():
        show(HTML(table_html(title, table)))
