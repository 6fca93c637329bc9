"""`culnig diff`: what a tuned checkpoint did to culture, ability and the neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "diff",
        epilog="Example:  culnig diff smollm2-135m runs/tuned/model --out runs/diff"
        "\n\nOther items:  culnig diff BASE TUNED --config my.yaml",
    )(diff)


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Model before: alias, GGUF file, folder, or hub id.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="Model after; a PEFT adapter is merged.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; runs/diff if not given.")] = None,
    config: Annotated[str, typer.Option("--config", "-c", help="Config with items, tests and rule.")] = "diff",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set seed=1. Repeatable.")
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Make again what was made from something else.")] = False,
    as_json: o.Json = False,
) -> None:
    """Compare a tuned checkpoint with its base item by item and neuron by neuron, and write a page.

    Interrupted, it goes on when the same command is run again.
    """
    from culnig import distributed
    from culnig.run.config import load_config
    from culnig.run.pipeline import run

    given = [f"model.name={_yaml(base)}", f"diff.tuned={_yaml(tuned)}", "studies=[diff]"]
    done = run(load_config(config, [*given, *(settings or [])]), out, reporter=o.reporter(as_json), redo=redo)
    if not distributed.is_main():
        return
    if as_json:
        o.print_json({"run": str(done.path), "report": str(done.path / "report.html"), **done.results["diff"]})
        return
    _print(done.path, done.results["diff"])


def _yaml(text: str) -> str:
    """Return a text as a YAML string, so that no name is read as a number."""
    import json

    return json.dumps(text, ensure_ascii=False)


def _print(folder: Path, numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from culnig.formatting import interval, p_equals, points

    console = Console(highlight=False, width=110)
    table = Table(box=None, pad_edge=False)
    table.add_column("accuracy, %", header_style="dim", no_wrap=True)
    for name in ("base", "tuned", "tuned - base (95 % interval)", "lost, gained", "p"):
        table.add_column(name, justify="right", header_style="dim", no_wrap=True)
    for row in numbers["tests"]:
        levels = [f"{100 * row[key]:.1f}" for key in ("base", "tuned")]
        change = f"{points(row['difference'])} ({interval(row)})"
        table.add_row(
            f"{row['role']}: {row['test']}", *levels, change, f"{row['lost']:.0f}, {row['gained']:.0f}", p_equals(row)
        )
    console.print(table)
    console.print(f"\n{numbers['claim']}")
    console.print(f"\nreport: [bold]{folder / 'report.html'}[/bold]", soft_wrap=True)
