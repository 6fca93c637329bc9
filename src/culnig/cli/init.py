"""`culnig init`: write a first config, after four questions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "init",
        epilog="Example:  culnig init my.yaml\n\nWithout questions:  culnig init my.yaml --model gemma3-270m --yes",
    )(init)


def init(
    out: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file to write.")] = Path("culnig.yaml"),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Alias, GGUF file, folder, or hub id.")] = None,
    questions: Annotated[
        str | None, typer.Option(help="Benchmark, or your own data set's YAML file, with splits neur, ctrl, test.")
    ] = None,
    goal: Annotated[str | None, typer.Option(help="find, countries or where.")] = None,
    size: Annotated[str | None, typer.Option(help="quick or full.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the defaults of what is not given.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write a commented config for `culnig run`; questions that flags answer are not asked."""
    from culnig.errors import UsageError
    from culnig.files import check_writable, write_text
    from culnig.run.config import load_config
    from culnig.run.starting import GOAL_TEXTS, Answers, starting_config

    if out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{out}: the name of a config ends in .yaml")
    if out.exists() and not force:
        raise UsageError(f"{out} exists already; choose another name, or --force")
    check_writable(out)
    given = {"model": model, "questions": questions, "goal": goal, "size": size}
    defaults = Answers()
    goals = "; ".join(f"{name}: {text}" for name, text in GOAL_TEXTS.items())
    asked = {
        "model": "Which model? An alias, a GGUF file, a folder, or a hub id",
        "questions": "Which questions about culture? A benchmark's name (culnig data list), or the YAML file of your own data",
        "goal": f"What do you want to know? {goals}",
        "size": "How thorough? quick: 30 questions a country; full: all of them",
    }
    found = {}
    for name, question in asked.items():
        default = getattr(defaults, name)
        found[name] = given[name] or (default if yes or as_json else _ask(question, default))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem) or "my-run"
    text = starting_config(Answers(**found), name)
    write_text(out, text)
    load_config(out)
    if as_json:
        o.print_json({"out": str(out), **found})
        return
    typer.echo(f"{out}: now `culnig plan {out}` for time and memory, then `culnig run {out}`")


def _ask(question: str, default: str) -> str:
    from culnig.errors import UsageError

    try:
        return str(typer.prompt(question, default=default))
    except typer.Abort as error:
        raise UsageError("no answer: answer the questions, give the flags, or take the defaults with --yes") from error
