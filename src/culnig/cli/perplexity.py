"""`culnig perplexity`: measure whether the model still predicts ordinary sentences."""

from __future__ import annotations

from typing import Annotated

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Intervening


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "perplexity",
        epilog="Example:  culnig perplexity --model smollm2-135m --neurons g.json --op suppress --out p.parquet",
    )(o.grouped(perplexity))


def perplexity(
    *,
    model: o.Model,
    out: o.Out,
    text: Annotated[
        str,
        typer.Option(help="plain (embedded, about nothing cultural), or a text file: paragraphs between blank lines."),
    ] = "plain",
    bos: o.Bos = "auto",
    intervening: Intervening,
    loading: o.Loading,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Log-probability of every token of plain text, a row a paragraph; `culnig stats` compares two such files."""
    from culnig import distributed
    from culnig.data import load_texts
    from culnig.evaluation import perplexity as compute
    from culnig.files import check_writable
    from culnig.formatting import format_number

    check_writable(out)
    intervention = intervening.read()
    paragraphs = load_texts(text)
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    intervention = intervention.prepared(lm, show)
    with show.step(f"read {text}", len(paragraphs), "paragraphs") as progress, intervention.on(lm):
        result = compute(lm, paragraphs, bos=bos, token_budget=token_budget, progress=progress)
    result.meta["text"] = text
    result.meta |= intervention.meta
    if distributed.is_main():
        result.save(out)
    facts = {
        "out": str(out),
        "paragraphs": len(paragraphs),
        "tokens": int(result.rows["tokens"].sum()),
        "perplexity": result.perplexity,
    }
    if as_json:
        o.print_json(facts)
    else:
        typer.echo(
            f"perplexity {format_number(result.perplexity, '.2f')} ({facts['tokens']:,} tokens of {text}); rows in {out}"
        )
