"""`culnig plan`: estimate the cost of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.run.plan import Plan


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "plan",
        epilog="Example:  culnig plan quickstart     culnig plan my.yaml --tflops 989 --memory-gb 80",
    )(plan)


def plan(
    config: Annotated[
        str | None, typer.Argument(help="YAML file, or an embedded config (quickstart, full, methods, ...).")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override: a.b=value; repeatable.")] = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="Another machine's rated matrix rate: no calibration on this one.")
    ] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.001, help="That machine's device memory, in GB.")] = None,
    as_json: o.Json = False,
) -> None:
    """Say what a run will take before it starts: items, tokens, FLOPs, memory, disk and time."""
    from culnig.run.config import load_config
    from culnig.run.plan import plan as compute

    made = compute(
        load_config(config, settings or []), tflops=tflops, memory_gb=memory_gb, reporter=o.reporter(as_json)
    )
    o.print_json(made.to_json()) if as_json else _show(made)


def _show(plan: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{plan.model}: {plan.parameters / 1e6:,.0f} M parameters, {plan.neurons:,} neurons, {plan.dtype} on"
        f" {plan.device}; batches of {plan.token_budget:,} tokens"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("step")
    for heading in ("items", "conditions", "prompts", "tokens", "TFLOPs", "time"):
        table.add_column(heading, justify="right")
    for step in plan.steps:
        table.add_row(
            f"{step.kind} {step.name}",
            f"{step.items:,}",
            f"{step.conditions}",
            f"{step.prompts:,}",
            f"{step.tokens:,}",
            f"{step.flops / 1e12:,.1f}",
            _duration(step.seconds),
        )
    console.print(table)
    memory = plan.memory
    parts = ", ".join(f"{name} {_size(getattr(memory, name))}" for name in memory.__dataclass_fields__)
    have = f" of {_size(plan.available)}" if plan.available else ""
    console.print(f"memory  {_size(memory.peak)}{have} at the peak ({parts})", soft_wrap=True)
    console.print(f"disk    {_size(plan.disk)} in the run folder")
    console.print(f"time    {_duration(plan.seconds)} in all, {plan.flops / 1e12:,.1f} TFLOPs")
    for line in plan.advice:
        console.print(line, style="yellow", soft_wrap=True)


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
