"""`culnig eval`: answer items and keep per-item results, with or without an intervention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Intervening

if TYPE_CHECKING:
    from culnig.data import Item
    from culnig.evaluation import EvalResult


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "eval",
        epilog="Example:  culnig eval --model smollm2-135m --items everyday:test --neurons g.json --op suppress --out e.parquet"
        "\n\nMeans in place of values:  culnig eval --model smollm2-135m --items everyday:test --neurons g.json --op mean"
        " --reference everyday:neur --out e.parquet",
    )(o.grouped(evaluate))


def evaluate(
    *,
    model: o.Model,
    items: o.Items,
    out: o.Out,
    choosing: o.Choosing,
    intervening: Intervening,
    prompting: o.Prompting,
    loading: o.Loading,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Answer every item, with neurons suppressed, scaled or replaced if asked, and keep a row for each."""
    from culnig.evaluation import count_prompts, estimate, save_results
    from culnig.evaluation import evaluate as compute
    from culnig.files import check_writable

    check_writable(out)
    intervention = intervening.read()
    rows = choosing.stream(items)
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    intervention = intervention.prepared(lm, show)
    policy = prompting.policy(lm)
    with show.step(f"evaluate {items}", count_prompts(rows, policy), "prompts") as progress, intervention.on(lm):

        def run(part: Sequence[Item]) -> EvalResult:
            result = compute(lm, part, policy=policy, token_budget=token_budget, progress=progress)
            result.meta |= intervention.meta
            return result

        result = save_results(out, lm, rows, policy, run)
    e = estimate(result)
    facts: dict[str, Any] = {
        "out": str(out),
        "rows": e.rows,
        "questions": e.questions,
        "accuracy": e.value,
        "low": e.low,
        "high": e.high,
        "p_gold": float(result.rows["p_gold"].mean()),
        "log_odds": float(result.rows["log_odds"].mean()),
        "margin": float(result.rows["margin"].mean()),
        "calibration": result.rows["calibration"].value_counts().to_dict(),
    }
    if as_json:
        o.print_json(facts)
    else:
        typer.echo(
            f"accuracy {e.value:.1%} (95 % interval {e.low:.1%} to {e.high:.1%}; {e.rows:,} rows of {e.questions:,}"
            f" questions), mean P(gold) {facts['p_gold']:.3f}, margin {facts['margin']:.2f} nats;"
            f" {_told(facts['calibration'])}; rows in {out}"
        )


def _told(counts: dict[str, int]) -> str:
    """Say in words how rows were calibrated, because some items allow only another calibration."""
    if len(counts) == 1:
        return f"calibration {next(iter(counts))}"
    return "calibration " + ", ".join(f"{kind} {count:,} rows" for kind, count in counts.items())
