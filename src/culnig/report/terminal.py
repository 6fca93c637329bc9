"""Print the table in the terminal at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from culnig.sealed import load_table

if TYPE_CHECKING:
    from rich.table import Table


ROLES = {"culture": "culture", "ability": "ability", "facts": "facts", "surface": "country reading", "task": "task"}
ARMS = ("finetune-arms", "restore-arms")
"""Tables of tuned models."""


def print_summary(folder: Path, results: dict[str, Any]) -> None:
    """Print accuracy by condition, the studies' main figures, and the path of the report to stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    path = folder / "tables" / "accuracy.parquet"
    if path.is_file():
        accuracy = load_table(path, "a table of a run")
        table = Table(box=None, pad_edge=False, title_justify="left")
        table.add_column("accuracy, %", header_style="dim")
        tests = dict(zip(accuracy["test"], accuracy["role"], strict=True))
        alone = len(set(tests.values())) == len(tests)
        for test, role in tests.items():
            table.add_column(ROLES[role] if alone else test, justify="right", header_style="dim")
        for condition in dict.fromkeys(accuracy["condition"]):
            cells = []
            for test in tests:
                rows = accuracy[(accuracy["test"] == test) & (accuracy["condition"] == condition)]
                cells.append(_cell(rows.iloc[0]) if len(rows) else "")
            style = "bold" if condition == "culture-general" else None
            table.add_row({"none": "untouched"}.get(condition, condition), *cells, style=style)
        console.print(table)
    for name in ARMS:
        path = folder / "tables" / f"{name}.parquet"
        if path.is_file():
            console.print(_arms(load_table(path, "a table of a run")))
    for numbers in results.values():
        if numbers.get("claim"):
            console.print(f"\n{numbers['claim']}")
    console.print(f"\nreport: [bold]{folder / 'report.html'}[/bold]", soft_wrap=True)


def _cell(row: pd.Series) -> str:
    return f"{100 * row['accuracy']:.1f} [dim]({100 * row['low']:.1f}–{100 * row['high']:.1f})[/dim]"


def _arms(frame: pd.DataFrame) -> Table:
    """Make a table of each tuned model's accuracy, its change, and the interval of the change."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("accuracy, % (change)", header_style="dim")
    roles = [role for role in ROLES if role in frame]
    for role in roles:
        table.add_column(ROLES[role], justify="right", header_style="dim")
    for _, row in frame.iterrows():
        cells = []
        for role in roles:
            change, low, high = (100 * row[f"{role} {what}"] for what in ("change", "low", "high"))
            more = "" if row["arm"] == "none" else f" [dim]({change:+.1f}: {low:+.1f} to {high:+.1f})[/dim]"
            cells.append(f"{100 * row[role]:.1f}{more}")
        table.add_row({"none": "untuned"}.get(row["arm"], row["arm"]), *cells)
    return table
