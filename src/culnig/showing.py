"""Show a thing with the views of `culnig.notebook`, which stand above the things that they draw."""

from __future__ import annotations

import importlib
from typing import Any


def show(kind: str, thing: Any, **options: Any) -> None:
    """Show text, figures and tables: as rich output in Jupyter, else as text on stdout.

    Args:
        kind: name of a view in `culnig.notebook.VIEWS`.
        thing: what it draws.
        **options: its options.

    Raises:
        CulnigError: the view's own errors.
    """
    notebook = importlib.import_module("culnig.notebook")
    notebook.display(notebook.VIEWS[kind](thing, **options))


def brief(kind: str, thing: Any) -> str:
    """Return a short table of a thing as HTML, which Jupyter shows where the thing is a cell's last value."""
    return str(importlib.import_module("culnig.notebook").BRIEFS[kind](thing).html())
