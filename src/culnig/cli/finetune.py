"""`culnig finetune`: train a model on items, with modules chosen and neurons protected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "finetune", epilog="Example:  culnig finetune entail.yaml --set update.protect=g.json --out runs/tuned"
    )(finetune)


def finetune(
    config: Annotated[str, typer.Argument(help="YAML file: model, task, update, training; see docs/finetuning.md.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; runs/<name> if not given.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting: --set training.learning_rate=1e-4. Repeatable."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Fine-tune on items of a benchmark or a file, the loss on the answers alone.

    Interrupted, it goes on from its last checkpoint when the same command is run again.
    """
    from culnig import distributed
    from culnig.finetune import manifest, tune
    from culnig.finetune.figure import write_figure
    from culnig.finetune.settings import load_finetune_config

    folder = tune(load_finetune_config(config, settings or []), out, reporter=o.reporter(as_json))
    if not distributed.is_main():
        return
    record = manifest(folder)
    losses = write_figure(folder)
    facts = {
        "out": str(folder),
        "model": str(folder / "model"),
        "updates": record["updates"],
        **record["update"],
        **losses,
    }
    if as_json:
        o.print_json(facts)
        return
    update = record["update"]
    typer.echo(
        f"{folder / 'model'}: {update['trainable']:,} of {update['parameters']:,} parameters could move in"
        f" {record['updates']} updates; loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}"
        f" (curve: {folder / 'loss.html'})"
    )
