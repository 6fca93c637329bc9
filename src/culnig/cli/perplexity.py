"""`culnig perplexity`: does the model still predict ordinary sentences?"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "perplexity",
        epilog="Example:  culnig perplexity --model smollm2-135m --neurons g.json --op suppress --out p.parquet",
    )(perplexity)


def perplexity(
    model: o.Model,
    out: o.Out,
    text: Annotated[
        str,
        typer.Option(help="plain (embedded, about nothing cultural), or a text file: paragraphs between blank lines."),
    ] = "plain",
    neurons: Annotated[
        Path | None, typer.Option(help="Neuron set to intervene on; without it the model is untouched.")
    ] = None,
    op: Annotated[str, typer.Option(help="suppress, enhance, or scale=FACTOR.")] = "suppress",
    how: Annotated[str, typer.Option(help="weights, hooks; auto: weights where they can be edited.")] = "auto",
    bos: o.Bos = "auto",
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    revision: o.Revision = None,
    trust: o.Trust = False,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Log-probability of every token of plain text, a row a paragraph; `culnig stats` compares two such files."""
    from culnig.benchmarks import load_texts
    from culnig.evaluation import perplexity as compute
    from culnig.files import check_writable
    from culnig.intervention import Operation, scale
    from culnig.neurons import NeuronSet

    check_writable(out)
    operation = Operation.parse(op)
    chosen = NeuronSet.load(neurons) if neurons else None
    paragraphs = load_texts(text)
    show = o.reporter(as_json)
    lm = o.load(model, show, dtype=dtype, device=device, revision=revision, trust_remote_code=trust)
    if chosen is not None:
        o.check_model(chosen, lm, neurons)
    block: Any = nullcontext() if chosen is None else scale(lm, chosen, operation.factor, how=how)
    with show.step(f"read {text}", len(paragraphs), "paragraphs") as progress, block:
        result = compute(lm, paragraphs, bos=bos, token_budget=token_budget, progress=progress)
    result.meta["text"] = text
    if chosen is not None:
        result.meta["intervention"] = {"neurons": str(neurons), "count": len(chosen), "operation": op}
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
        typer.echo(f"perplexity {result.perplexity:.2f} ({facts['tokens']:,} tokens of {text}); rows in {out}")
