"""`culnig run`: run the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli._options import Json, listing, print_json, reporter


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "run",
        cls=listing("Studies", "culnig.studies", "culnig.studies"),
        epilog="Example:  culnig run quickstart --set random_controls=10 --out runs/ten",
    )(run)


def run(
    config: Annotated[
        str | None,
        typer.Argument(
            help="YAML file, or an embedded config: quickstart, full, studies, methods, methods-quick, finetune, restore,"
            " blend-built, culturalbench, short-answers, paper, paper-MODEL."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; runs/<name> if not given.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting: --set culture_general.t_mlp=0.005. Repeatable."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Fine-tunings of each arm (configs that tune): --set seeds=N.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Make again what was made from other items, templates or another model.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score, select, suppress, evaluate and report, from one config file.

    Without CONFIG this is the embedded quickstart: a real model, real data, a few minutes on two cores.
    Interrupted, it goes on where it stopped when the same command is run again.
    """
    from culnig import distributed
    from culnig.errors import UsageError
    from culnig.run.config import load_config
    from culnig.run.pipeline import run as run_pipeline

    resolved = load_config(config, [*(settings or []), *([f"seeds={seeds}"] if seeds is not None else [])])
    if seeds is not None and not {"finetune", "restore"} & set(resolved.studies):
        raise UsageError("--seeds is for configs that tune models: finetune, restore; this one has no such study")
    directory = run_pipeline(resolved, out, reporter=reporter(as_json), redo=redo)
    if not distributed.is_main():
        return
    results = directory.results
    if as_json:
        print_json({"run": str(directory.path), "report": str(directory.path / "report.html"), **results})
        return
    from culnig.report.terminal import print_summary

    print_summary(directory.path, results)
