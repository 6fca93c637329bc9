"""`culnig compare`: the effect of tuning on neurons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.attribution import Scores
    from culnig.data import Item
    from culnig.models import LanguageModel
    from culnig.progress import Reporter
    from culnig.prompts import PromptPolicy

SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "compare",
        epilog="Example:  culnig compare smollm2-135m runs/tuned/model --neurons g.json --items everyday:test",
    )(o.grouped(compare, quantize=None, merge_adapter=True, device_map=None))


def compare(
    *,
    base: Annotated[str, typer.Argument(help="Model before: alias, GGUF file, folder, or hub id.")],
    tuned: Annotated[str, typer.Argument(help="Model after.")],
    neurons: Annotated[Path, typer.Option(help="Neuron set to look at.")],
    items: Annotated[str | None, typer.Option("--items", "-i", help="Score both models on these items too.")] = None,
    base_scores: Annotated[Path | None, typer.Option(help="Scores of the model before, instead of --items.")] = None,
    tuned_scores: Annotated[Path | None, typer.Option(help="Scores of the model after.")] = None,
    random_sets: Annotated[int, typer.Option(min=1, help="Matched random sets to compare with.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a row a neuron (.parquet or .csv).")] = None,
    choosing: o.Choosing,
    prompting: o.Prompting,
    loading: o.Loading,
    as_json: o.Json = False,
) -> None:
    """Compare how far neurons' weights moved with random rows of the same projections; with items or scores, scores too."""
    from culnig.attribution import Scores
    from culnig.errors import UsageError
    from culnig.files import check_writable
    from culnig.finetune.movement import check_scores, neuron_table, row_changes, summary
    from culnig.neurons import NeuronSet

    if (base_scores is None) != (tuned_scores is None) or (items and base_scores):
        raise UsageError("give --items, or both --base-scores and --tuned-scores")
    if out is not None:
        if out.suffix not in (".parquet", ".csv"):
            raise UsageError(f"--out {out}: the name must end in .parquet or .csv")
        check_writable(out)
    chosen = NeuronSet.load(neurons)
    show = o.reporter(as_json)
    before, after = (loading.load(name, show) for name in (base, tuned))
    o.check_model(chosen, before, neurons)
    changes = row_changes(before, after)
    scores: tuple[Scores, Scores] | None = None
    if items:
        rows, policy = choosing.load(items), prompting.scoring_policy(before)
        scores = (_scored(before, rows, policy, show), _scored(after, rows, policy, show))
    elif base_scores and tuned_scores:
        scores = (Scores.load(base_scores), Scores.load(tuned_scores))
    if scores:
        check_scores(*scores)
    table = neuron_table(changes, chosen, scores)
    totals = summary(changes, chosen, before.shapes, scores, draws=random_sets, seed=choosing.seed)
    if out is not None:
        _write(table, out)
    if as_json:
        o.print_json({"summary": totals.to_dict("records"), "neurons": table.to_dict("records")})
        return
    _show(totals, table, random_sets, out)


def _scored(lm: LanguageModel, rows: list[Item], policy: PromptPolicy, show: Reporter) -> Scores:
    """Score items under the base model's policy, whatever a tuned folder records."""
    from culnig.attribution import score

    with show.step(f"score {lm.name}", len(rows), "prompts") as progress:
        return score(lm, rows, policy=policy, progress=progress)


def _write(table: Any, out: Path) -> None:
    from culnig.files import write_csv
    from culnig.sealed import save_rows

    write_csv(out, table) if out.suffix == ".csv" else save_rows(out, table)


def _show(totals: Any, table: Any, random_sets: int, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for frame, title in (
        (totals, f"{len(table)} neurons against {random_sets} random sets of the same modules and layers"),
        (table.head(SHOWN), f"the {min(SHOWN, len(table))} that moved most"),
    ):
        shown = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
        for column in frame.columns:
            text = column in ("what", "module")
            shown.add_column(column.replace("_", " "), justify="left" if text else "right", header_style="dim")
        for row in frame.itertuples(index=False):
            shown.add_row(*map(_cell, row))
        console.print(shown)
    if out is not None:
        typer.echo(f"rows in {out}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
