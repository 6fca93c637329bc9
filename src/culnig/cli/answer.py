"""`culnig answer`: the model writes short answers, with or without an intervention, and they are matched by language."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.evaluation import AnswerResult


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "answer",
        epilog="Example:  culnig answer --model gemma3-270m --items blend_short:test --draws 1 --out a.parquet",
    )(answer)


def answer(
    model: o.Model,
    items: o.Items,
    out: o.Out,
    neurons: Annotated[
        Path | None, typer.Option(help="Neuron set to intervene on; without it the model is untouched.")
    ] = None,
    op: Annotated[str, typer.Option(help="suppress, enhance, or scale=FACTOR.")] = "suppress",
    how: Annotated[str, typer.Option(help="weights, hooks; auto: weights where they can be edited.")] = "auto",
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Length of an answer at most; it ends with its line.")
    ] = 32,
    chat_template: Annotated[str, typer.Option(help="auto (on if there is one), on, off.")] = "auto",
    bos: o.Bos = "auto",
    wordings: o.Wordings = "1",
    system: o.System = None,
    template: o.TemplateFile = None,
    countries: o.Countries = None,
    limit: o.Limit = None,
    draws: Annotated[int | None, typer.Option(help="1: only the first of the wordings that BLEnD brings.")] = None,
    seed: o.Seed = 0,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    revision: o.Revision = None,
    trust: o.Trust = False,
    quantize: o.Quantize = None,
    merge_adapter: o.MergeAdapter = False,
    device_map: o.DeviceMap = None,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Write a short answer to every item, look for a right one in it, and keep a row for each."""
    from culnig.evaluation import answer as compute
    from culnig.evaluation._run import count_rows
    from culnig.files import check_writable
    from culnig.intervention import Operation, scale
    from culnig.neurons import NeuronSet

    check_writable(out)
    operation = Operation.parse(op)
    chosen = NeuronSet.load(neurons) if neurons else None
    rows = o.items(items, countries, limit, draws, seed)
    show = o.reporter(as_json)
    lm = o.load(
        model,
        show,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust,
        quantize=quantize,
        merge_adapter=merge_adapter,
        device_map=device_map,
    )
    if chosen is not None:
        o.check_model(chosen, lm, neurons)
    policy = o.policy(lm, "short", chat_template, bos, wordings, system, template)
    block: Any = nullcontext() if chosen is None else scale(lm, chosen, operation.factor, how=how)
    with show.step(f"answer {items}", count_rows(rows, policy), "prompts") as progress, block:
        result = compute(
            lm, rows, policy=policy, max_new_tokens=max_new_tokens, token_budget=token_budget, progress=progress
        )
    if chosen is not None:
        result.meta["intervention"] = {"neurons": str(neurons), "count": len(chosen), "operation": op}
    result.save(out)
    _print(result, out, as_json)


def _print(result: AnswerResult, out: Path, as_json: bool) -> None:
    table = result.by_language()
    matchers = result.meta["matchers"]
    if as_json:
        facts = {"out": str(out), "rows": len(result), "accuracy": result.accuracy, "matchers": matchers}
        o.print_json(
            facts | {"weighted": float(result.values("weighted").mean()), "languages": table.to_dict("records")}
        )
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in (
        "language",
        "countries",
        "questions",
        "rows",
        "right, % (95 % interval)",
        "by votes, %",
        "matched by",
    ):
        left = column in ("language", "matched by")
        shown.add_column(column, justify="left" if left else "right", header_style="dim", no_wrap=True)
    for row in table.to_dict("records"):
        interval = f"{100 * row['accuracy']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        counts = (str(row["countries"]), f"{row['questions']:,}", f"{row['rows']:,}")
        shown.add_row(row["language"], *counts, interval, f"{100 * row['weighted']:.1f}", row["matcher"])
    Console(highlight=False, width=110).print(shown)
    for language, how in matchers.items():
        if how["note"]:
            typer.secho(f"{language}: words are compared as written ({how['note']})", fg="yellow", err=True)
    typer.echo(f"right {result.accuracy:.1%} of {len(result):,} rows; rows in {out}")
