"""`culnig score`: compute scores from items."""

from __future__ import annotations

from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "score",
        cls=o.listing("Scoring methods", "culnig.attribution.methods", "culnig.methods"),
        epilog="Example:  culnig score --model smollm2-135m --items everyday:neur --draws 1 --out neur.safetensors",
    )(o.grouped(score))


def score(
    *,
    model: o.Model,
    items: o.Items,
    out: o.Out,
    control: Annotated[
        bool, typer.Option("--control", help="The items are controls: maxima over positions are clamped at 0.")
    ] = False,
    method: Annotated[
        str,
        typer.Option(
            help="Methods, with options behind colons: culnig,culnig:sum:product,atp:dataset (docs/method.md)."
        ),
    ] = "culnig",
    modules: Annotated[
        str | None, typer.Option(help="Score only these, separated by commas: mlp.gate_proj,self_attn.v_proj.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Keep sums of so many blocks of items too, to resample them (20).")
    ] = None,
    block_groups: Annotated[
        bool,
        typer.Option("--block-groups", help="Keep them by country as well, to resample culture-specific sets."),
    ] = False,
    choosing: o.Choosing,
    prompting: o.Prompting,
    loading: o.Loading,
    token_budget: o.Budget = None,
    padded_zeros: Annotated[
        int | None,
        typer.Option(help="Reproduce the published code's padding at this batch size (METHOD trap; for comparisons)."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: score the i-th of n parts; `culnig merge` adds them up.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0.0, help="Keep progress so often; the same command goes on from there.")
    ] = 5.0,
    as_json: o.Json = False,
) -> None:
    """Score every neuron of every site on a set of items: by default one forward and one backward pass a batch."""
    from culnig import distributed
    from culnig.attribution import score as compute
    from culnig.attribution.checkpoint import checkpoint_of, forget
    from culnig.attribution.method import parse_methods
    from culnig.files import check_writable
    from culnig.neurons import number_of_neurons

    check_writable(out)
    parse_methods(method)
    chosen = choosing.stream(items)
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    policy = prompting.scoring_policy(lm)
    prompts = len(chosen) * (policy.wordings if isinstance(policy.wordings, int) else 1)
    with show.step(f"score {items}", prompts, "prompts") as progress:
        scores = compute(
            lm,
            chosen,
            policy=policy,
            method=method,
            modules=o.split_list(modules),
            blocks=blocks,
            block_groups=block_groups,
            control=True if control else None,
            token_budget=token_budget,
            padded_zeros=padded_zeros,
            shard=_parse_shard(shard),
            checkpoint=checkpoint_of(out),
            checkpoint_minutes=checkpoint_minutes,
            progress=progress,
        )
    if distributed.is_main():
        scores.save(out)
        forget(out)
    if not distributed.is_main():
        return
    facts = {
        "out": str(out),
        "model": lm.name,
        "items": scores.meta["num_items"],
        "prompts": scores.meta["num_prompts"],
        "groups": len(scores.groups),
        "formulation": policy.formulation,
        "chat_template": scores.meta["prompts"]["chat_template"],
        "methods": scores.methods,
        "neurons": max(number_of_neurons(scores.of_method(m).shapes()) for m in scores.methods),
    }
    if as_json:
        o.print_json(facts)
    else:
        typer.echo(
            f"{out}: {facts['neurons']:,} neurons x {facts['groups']} groups, {facts['prompts']:,} prompts"
            f" ({policy.formulation}, chat template {facts['chat_template']})"
        )


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    """Return "2/8" as (2, 8)."""
    from culnig.errors import UsageError

    if text is None:
        return None
    i, slash, n = text.partition("/")
    if not slash or not (i.isascii() and i.isdigit() and n.isascii() and n.isdigit()):
        raise UsageError(f"--shard {text}: give i/n, as in 2/8")
    return int(i), int(n)
