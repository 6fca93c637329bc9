"""`culnig pull`: fetch a neuron set's repository from a folder or the hub, and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "pull",
        epilog="Example:  culnig pull shared/general --out general"
        "\n\nThen:  culnig eval --model smollm2-135m --items everyday:test --neurons general/neurons.json --out e.parquet",
    )(pull)


def pull(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder that `culnig push` wrote, or hf:owner/name.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New folder; by default the source's name.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Refuse the set unless it belongs to this model.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or branch on the hub.")] = None,
    as_json: o.Json = False,
) -> None:
    """Copy a neuron set into a new folder; damaged files and sets of another model are refused."""
    from culnig.integrations import pull as fetch

    show = o.reporter(as_json)
    lm = o.load(model, show) if model is not None else None
    folder = out or Path(Path(source.rstrip("/")).name)
    repository = fetch(source, folder, lm=lm, revision=revision)
    neurons = folder / "neurons.json"
    if as_json:
        facts = {"out": str(folder), "neurons": str(neurons), "count": len(repository.neurons)}
        o.print_json(facts | {"model": repository.model, "figures": list(repository.figures)})
        return
    typer.echo(
        f"{neurons}: {len(repository.neurons):,} neurons of {repository.model['name']}"
        f" (hash {repository.model['model_hash']}); card: {folder / 'README.md'}"
    )
