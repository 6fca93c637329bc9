"""`culnig eval`: items -> per-item results, with or without an intervention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "eval",
        epilog="Example:  culnig eval --model smollm2-135m --items everyday:test --neurons g.json --op suppress --out e.parquet",
    )(evaluate)


def evaluate(
    model: o.Model,
    items: o.Items,
    out: o.Out,
    neurons: Annotated[
        Path | None, typer.Option(help="Neuron set to intervene on; without it the model is untouched.")
    ] = None,
    op: Annotated[str, typer.Option(help="suppress, enhance, or scale=FACTOR.")] = "suppress",
    how: Annotated[str, typer.Option(help="weights, hooks; auto: weights where they can be edited.")] = "auto",
    formulation: o.Formulation = "auto",
    chat_template: o.Chat = "auto",
    bos: o.Bos = "auto",
    wordings: o.Wordings = "1",
    system: o.System = None,
    template: o.TemplateFile = None,
    countries: o.Countries = None,
    limit: o.Limit = None,
    draws: o.Draws = None,
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
    """Answer every item, with neurons suppressed or scaled if asked, and keep a row for each."""
    from culnig.evaluation import estimate
    from culnig.evaluation import evaluate as compute
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
    policy = o.policy(lm, formulation, chat_template, bos, wordings, system, template)
    with show.step(f"evaluate {items}", count_rows(rows, policy), "prompts") as progress:
        options: dict[str, Any] = {"policy": policy, "token_budget": token_budget, "progress": progress}
        if chosen is None:
            result = compute(lm, rows, **options)
        else:
            with scale(lm, chosen, operation.factor, how=how):
                result = compute(lm, rows, **options)
            result.meta["intervention"] = {"neurons": str(neurons), "count": len(chosen), "operation": op}
    result.save(out)
    e = estimate(result)
    facts = {
        "out": str(out),
        "rows": e.rows,
        "questions": e.questions,
        "accuracy": e.value,
        "low": e.low,
        "high": e.high,
        "p_gold": float(result.rows["p_gold"].mean()),
        "log_odds": float(result.rows["log_odds"].mean()),
    }
    if as_json:
        o.print_json(facts)
    else:
        typer.echo(
            f"accuracy {e.value:.1%} (95 % interval {e.low:.1%} to {e.high:.1%}; {e.rows:,} rows of {e.questions:,}"
            f" questions), mean P(gold) {facts['p_gold']:.3f}; rows in {out}"
        )
