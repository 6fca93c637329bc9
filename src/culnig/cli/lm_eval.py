"""`culnig lm-eval`: run lm-evaluation-harness untouched, with a neuron set changed, and with random sets changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Intervening

if TYPE_CHECKING:
    import pandas as pd

    from culnig.integrations.conditions import State
    from culnig.integrations.lm_eval import Harness
    from culnig.models import LanguageModel


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "lm-eval",
        epilog="Example:  culnig lm-eval --model smollm2-135m --neurons g.json --out effect -- --tasks hellaswag --limit 200"
        "\n\nOur own:  culnig tasks --items everyday:test --formulation cf --out tasks; culnig lm-eval --model smollm2-135m"
        " --neurons g.json --out effect -- --include_path tasks --tasks everyday_test_cf,everyday_test_cf_prior",
    )(o.grouped(lm_eval))


def lm_eval(
    *,
    arguments: Annotated[
        list[str], typer.Argument(metavar="-- LM_EVAL_ARGUMENTS", help="As for lm-eval: --tasks, --limit, ..")
    ],
    model: o.Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for samples, results and the comparison.")],
    random_sets: Annotated[int, typer.Option(min=1, help="Matched random sets to compare with.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random sets and of the bootstrap.")] = 0,
    bos: o.Bos = "auto",
    intervening: Intervening,
    loading: o.Loading,
    as_json: o.Json = False,
) -> None:
    """Run lm-eval's tasks in three states of a model, and compare the states sample by sample."""
    from culnig.errors import UsageError
    from culnig.integrations.conditions import states
    from culnig.integrations.lm_eval import check_arguments, check_installed, harness
    from culnig.integrations.lm_eval_report import compared, write

    check_arguments(arguments)
    check_installed()
    if out.exists():
        raise UsageError(f"{out} exists already; choose a new folder for --out")
    intervention = intervening.read()
    chosen = intervention.chosen
    if chosen is None:
        raise UsageError("which neurons? give --neurons; `culnig select` and `culnig pull` make such files")
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    intervention = intervention.prepared(lm, show)
    options: dict[str, Any] = {"random_sets": random_sets, "seed": seed, "how": intervening.how}
    found = states(lm, chosen, intervention.operation, intervention.means, **options)
    given = harness(lm, arguments, bos)
    with show.step(f"lm-eval in {len(found)} states"), _quiet(as_json):
        done = _run(given, lm, found)
    table, results, unpaired = compared(done, found, lm, seed=seed)
    write(out, done, results, table)
    for metric in unpaired:
        typer.secho(f"  note: {metric} is no number for each sample and is not compared", fg="bright_black", err=True)
    if as_json:
        o.print_json({"out": str(out), "comparison": table.to_dict("records"), "not_compared": unpaired})
        return
    _print(table, out)


def _quiet(as_json: bool) -> AbstractContextManager[Any]:
    """Return a block in which lm-eval's progress bars are not shown, if the output is for a machine."""
    return redirect_stderr(io.StringIO()) if as_json else nullcontext()


def _run(given: Harness, lm: LanguageModel, found: list[State]) -> dict[str, dict[str, Any]]:
    from culnig.integrations.lm_eval import run

    return run(given, {state.name: state.on(lm) for state in found})


def _print(table: pd.DataFrame, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from culnig.formatting import format_number, format_p

    shown = Table(box=None, pad_edge=False)
    for name in ("task", "metric"):
        shown.add_column(name, header_style="dim")
    for name in ("samples", "untouched", "changed", "random", "changed - untouched (95 %)", "lost, gained", "exact p"):
        shown.add_column(name, justify="right", header_style="dim", no_wrap=True)
    shown.add_column("changed - random (95 %)", justify="right", header_style="dim", no_wrap=True)

    def change(row: Mapping[Any, Any], end: str) -> str:
        value, low, high = (format_number(100 * row[f"{key}{end}"], "+.1f") for key in ("difference", "low", "high"))
        return f"{value} ({low} to {high})"

    for row in table.to_dict("records"):
        levels = [format_number(100 * row[key], ".1f") for key in ("untouched", "changed", "random")]
        exact = row["p_mcnemar"] == row["p_mcnemar"]
        counts = (f"{row['lost']:.0f}, {row['gained']:.0f}", format_p(row["p_mcnemar"])) if exact else ("", "")
        cells = [f"{row['samples']:,}", *levels, change(row, ""), *counts, change(row, "_random")]
        shown.add_row(row["task"], row["metric"], *cells)
    Console(highlight=False, width=170).print(shown)
    typer.echo(f"metrics x 100; intervals by paired bootstrap, exact p by McNemar; samples and results in {out}")
