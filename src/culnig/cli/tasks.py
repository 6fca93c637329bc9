"""`culnig tasks`: write benchmarks as tasks of lm-evaluation-harness."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "tasks",
        epilog="Example:  culnig tasks --items everyday:test --formulation cf --out tasks"
        "\n\nThen:  lm-eval --model hf --model_args pretrained=MODEL --include_path tasks --tasks everyday_test_cf",
    )(o.grouped(tasks, calibration="auto", offsets_from="untouched", bos="auto"))


def tasks(
    *,
    items: o.Items,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the YAML files and their rows.")],
    name: Annotated[str | None, typer.Option(help="Name of the task; by default the benchmark's.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Write prompts with this model's chat template.")
    ] = None,
    choosing: o.Choosing,
    prompting: o.Prompting,
    as_json: o.Json = False,
) -> None:
    """Write items as lm-eval tasks (YAML and JSON Lines), with the prompts that culnig shows to a model."""
    from culnig.errors import UsageError
    from culnig.integrations.lm_eval_tasks import write_tasks

    if prompting.formulation not in ("cf", "mcf"):
        raise UsageError("--formulation: a task has one; give cf or mcf")
    if model is None and prompting.chat_template == "on":
        raise UsageError("--chat-template on needs the model whose template it is: give --model")
    rows = choosing.load(items)
    tokenizer = o.load(model, o.reporter(as_json)).tokenizer if model is not None else None
    own = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(items).stem if items.endswith(".jsonl") else items)
    policy = prompting.fixed_policy()
    written = write_tasks(rows, policy, out, name=own, tokenizer=tokenizer)
    if as_json:
        o.print_json({"out": str(out), "tasks": written})
        return
    for task, count in written.items():
        typer.echo(f"{out / task}.yaml: {count:,} rows")
