"""`culnig modules`: rank the projections that hold the neurons of a set, and choose some by a parameter budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.finetune import Choice, Projection

SHOWN = 15


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "modules", epilog="Example:  culnig modules --neurons g.json --model smollm2-135m --bottom 10% --as peft"
    )(modules)


def modules(
    neurons: Annotated[Path, typer.Option(help="Neuron set (culture-general).")],
    model: o.Model,
    top: Annotated[
        str | None, typer.Option(help="Choose the modules with most neurons: 10% of the parameters.")
    ] = None,
    bottom: Annotated[str | None, typer.Option(help="Choose the modules with fewest neurons: 10%.")] = None,
    random: Annotated[str | None, typer.Option(help="Choose modules at random: 10%; a control.")] = None,
    by: Annotated[
        str,
        typer.Option(help="module: rank by own neurons; block: by those of the whole MLP or attention, as published."),
    ] = "module",
    among: Annotated[
        str, typer.Option(help="Choose among all, gates (gate projections alone) or mlp (MLP blocks).")
    ] = "all",
    form: Annotated[
        str, typer.Option("--as", help="table; or the choice as peft (regular expression), list or yaml.")
    ] = "table",
    all_rows: Annotated[bool, typer.Option("--all", help="Show the whole ranking, not its first rows.")] = False,
    seed: Annotated[int, typer.Option(help="Order of modules with the same count; order of --random.")] = 0,
    revision: o.Revision = None,
    trust: o.Trust = False,
    as_json: o.Json = False,
) -> None:
    """Rank projections by the neurons they hold, and choose some for fine-tuning by their parameters.

    Shares are of the parameters of the decoder layers.  Projections without neurons (o_proj, down_proj) take part.
    With `--by block` these have the neurons of their block.
    """
    from culnig.errors import UsageError
    from culnig.finetune import choose, decoder_parameters, find_projections, parse_share, rank, within
    from culnig.finetune.targets import describe, row
    from culnig.neurons import NeuronSet

    picks = {"top": top, "bottom": bottom, "random": random}
    asked = [(pick, parse_share(text)) for pick, text in picks.items() if text is not None]
    if len(asked) > 1:
        raise UsageError("give one of --top, --bottom and --random")
    if form not in ("table", "peft", "list", "yaml"):
        raise UsageError(f"--as {form}: there are table, peft, list and yaml")
    if form != "table" and not asked:
        raise UsageError(f"--as {form} prints a choice; say which with --top 10% or --bottom 10%")
    chosen = NeuronSet.load(neurons)
    lm = o.load(
        model,
        o.reporter(as_json or form != "table"),
        device="cpu",
        revision=revision,
        trust_remote_code=trust,
    )
    o.check_model(chosen, lm, neurons)
    found, total = find_projections(lm, chosen), decoder_parameters(lm)
    ranked = rank(within(found, among), seed, by)
    choice = choose(found, total, asked[0][1], asked[0][0], seed=seed, by=by, among=among) if asked else None
    if as_json:
        facts: dict[str, Any] = {
            "model": lm.name,
            "decoder_parameters": total,
            "by": by,
            "ranking": [row(p) for p in ranked],
        }
        o.print_json(facts | ({"choice": describe(choice)} if choice else {}))
    elif choice and form != "table":
        typer.echo(_formatted(choice, form, lm.name, neurons), nl=False)
    else:
        _show(ranked, total, choice, all_rows)


def _formatted(choice: Choice, form: str, model: str, neurons: Path) -> str:
    import yaml

    from culnig.finetune.targets import describe, peft_parameters

    facts = describe(choice)
    if form == "yaml":
        head = f"# {choice.pick} {choice.asked:.4g} of {model} by {neurons}: {choice.share:.4%} of its decoder's parameters\n"
        keys = ("target_modules", "target_parameters")
        return head + yaml.safe_dump({key: facts[key] for key in keys if key in facts}, sort_keys=False)
    if stacked := peft_parameters(choice.projections):
        typer.secho(f"besides, target_parameters={stacked}", fg="yellow", err=True)
    if form == "peft":
        return str(facts["expression"]) + "\n"
    return "".join(path + "\n" for path in facts["target_modules"])


def _show(ranked: list[Projection], total: int, choice: Choice | None, all_rows: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from culnig.finetune.targets import describe, in_order

    console = Console(highlight=False)
    rows = in_order(choice.projections) if choice else ranked
    shown = rows if all_rows or choice else rows[:SHOWN]
    table = Table(box=None, pad_edge=False)
    for column in ("module", "layer", "neurons", "block", "density", "parameters"):
        table.add_column(column, justify="left" if column == "module" else "right", header_style="dim")
    for p in shown:
        table.add_row(
            p.module, str(p.layer), f"{p.neurons:,}", f"{p.block_neurons:,}", f"{p.density:.2%}", f"{p.parameters:,}"
        )
    console.print(table)
    if choice is None:
        held = sum(p.neurons > 0 for p in ranked)
        more = "" if len(shown) == len(rows) else f" (the first {len(shown)} are shown; --all shows all)"
        console.print(
            f"{held} of {len(ranked)} projections hold neurons{more}; the decoder layers have {total:,} parameters",
            soft_wrap=True,
        )
        return
    console.print(
        f"{len(rows)} of {len(ranked)} projections: {choice.parameters:,} of {total:,} parameters"
        f" ({choice.share:.3%}, asked {choice.asked:.3%}), {choice.neurons:,} of"
        f" {sum(p.neurons for p in ranked):,} neurons",
        soft_wrap=True,
    )
    facts = describe(choice)
    typer.echo(f"\nPEFT target_modules:\n{facts['expression']}")
    if "target_parameters" in facts:
        typer.echo(f"\nPEFT target_parameters:\n{facts['target_parameters']}")
