"""`culnig report`: write the report of a run from its saved files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli._options import Json, print_json


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("report", epilog="Example:  culnig report runs/quickstart")(report)


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a finished run.")],
    as_json: Json = False,
) -> None:
    """Compute tables, figures and report.html again; the model is not needed."""
    from culnig.report.terminal import print_summary
    from culnig.run.directory import RunDirectory
    from culnig.run.pipeline import analyse, write_report

    run = RunDirectory.open(directory)
    run.check_finished()
    write_report(run, analyse(run))
    if as_json:
        print_json({"run": str(run.path), "report": str(run.path / "report.html"), **run.results})
    else:
        print_summary(run.path, run.results)
