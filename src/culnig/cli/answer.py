"""`culnig answer`: let the model write short answers, with or without an intervention, and match them by language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Intervening

if TYPE_CHECKING:
    from culnig.data import Item
    from culnig.evaluation import AnswerResult


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "answer",
        epilog="Example:  culnig answer --model gemma3-270m --items blend_short:test --draws 1 --out a.parquet",
    )(o.grouped(answer, formulation="short"))


def answer(
    *,
    model: o.Model,
    items: o.Items,
    out: o.Out,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Length of an answer at most; it ends with its line.")
    ] = 32,
    choosing: o.Choosing,
    intervening: Intervening,
    prompting: o.Prompting,
    loading: o.Loading,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Write a short answer to every item, look for a right one in it, and keep a row for each."""
    from culnig.evaluation import answer as compute
    from culnig.evaluation import count_prompts, save_results
    from culnig.files import check_writable

    check_writable(out)
    intervention = intervening.read()
    rows = choosing.stream(items)
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    intervention = intervention.prepared(lm, show)
    policy = prompting.policy(lm)
    with show.step(f"answer {items}", count_prompts(rows, policy), "prompts") as progress, intervention.on(lm):

        def run(part: Sequence[Item]) -> AnswerResult:
            options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "token_budget": token_budget}
            result = compute(lm, part, policy=policy, progress=progress, **options)
            result.meta |= intervention.meta
            return result

        result = save_results(out, lm, rows, policy, run)
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
