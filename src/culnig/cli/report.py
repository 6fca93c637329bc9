"""`culnig report`: write the report of a run from its saved files, or several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from culnig.cli._options import Json, print_json

COMPARISON = Path("comparison.html")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "report",
        epilog="Examples:  culnig report runs/quickstart  ·  culnig report runs/before runs/after -o both.html",
    )(report)


def report(
    directories: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of finished runs.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=f"Page of several runs; {COMPARISON} unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute a run's tables, figures and report.html again, or compare several runs with the first; no model is needed."""
    from culnig.errors import UsageError
    from culnig.report.terminal import print_summary
    from culnig.run.directory import RunDirectory
    from culnig.run.pipeline import analyse, write_report

    runs = [RunDirectory.open(directory) for directory in directories]
    for run in runs:
        run.check_finished()
    if len(runs) > 1:
        _side_by_side(runs, out or COMPARISON, as_json)
        return
    if out is not None:
        raise UsageError("--out is for several runs; the report of one run is written into its folder")
    run = runs[0]
    write_report(run, analyse(run))
    if as_json:
        print_json({"run": str(run.path), "report": str(run.path / "report.html"), **run.results})
    else:
        print_summary(run.path, run.results)


def _side_by_side(runs: list[Any], out: Path, as_json: bool) -> None:
    """Write the page of several runs, and print what differs."""
    from culnig.files import check_writable
    from culnig.report.side_by_side import compare_runs, named, said

    check_writable(out)
    found = named([(run, run.manifest) for run in runs])
    tables = compare_runs(found, out)
    if as_json:
        rows = {name: table.astype(object).where(table.notna(), None) for name, table in tables.items()}
        print_json({"report": str(out)} | {name: table.to_dict("records") for name, table in rows.items()})
        return
    for text in said(tables["differences"], next(iter(found))):
        typer.echo(text)
    typer.echo(f"\nreport: {out}")
