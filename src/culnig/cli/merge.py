"""`culnig merge`: add up shards into one score file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("merge", epilog="Example:  culnig merge part-1.safetensors part-2.safetensors --out whole.safetensors")(
        merge
    )


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Score files made with --shard i/n, all n of them.")],
    out: o.Out,
    as_json: o.Json = False,
) -> None:
    """Add up the shards of one scoring job; refuses those that do not belong together or are missing."""
    from culnig.attribution import Scores, merge_scores
    from culnig.files import check_writable

    check_writable(out)
    merged = merge_scores([Scores.load(path) for path in shards])
    merged.save(out)
    facts = {"out": str(out), "shards": len(shards), "prompts": int(merged.count.sum())}
    o.print_json(facts) if as_json else typer.echo(f"{out}: {facts['prompts']:,} prompts from {len(shards)} shards")
