"""`culnig generate`: let the model answer untouched, with a neuron set changed, and with a matched random set changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.cli._intervening import Intervening

if TYPE_CHECKING:
    from culnig.integrations.conditions import State
    from culnig.models import LanguageModel
    from culnig.passes.generation import Sampling

Show = Callable[[str], None]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "generate",
        epilog='Example:  culnig generate --model smollm2-135m --neurons g.json "What do people in Japan eat at New Year?"'
        "\n\nMany prompts:  culnig generate --model smollm2-135m --neurons g.json --file prompts.txt --out answers.jsonl",
    )(o.grouped(generate))


def generate(
    *,
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to ask; - reads prompts from stdin.")
    ] = None,
    model: o.Model,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Text file with a prompt a line.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write every answer as JSON Lines.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: the likeliest token each time.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="With a temperature: nucleus to draw from.")] = 1.0,
    samples: Annotated[int, typer.Option(min=1, help="With a temperature: answers with the seeds that follow.")] = 1,
    random_sets: Annotated[int, typer.Option(min=0, help="Matched random sets.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the draws of tokens and of the random sets.")] = 0,
    chat_template: Annotated[
        str, typer.Option(help="auto (on if there is one), on, off.", rich_help_panel=o.PROMPTS)
    ] = "auto",
    bos: o.Bos = "auto",
    system: Annotated[str | None, typer.Option(help="System prompt.", rich_help_panel=o.PROMPTS)] = None,
    intervening: Intervening,
    loading: o.Loading,
    as_json: o.Json = False,
) -> None:
    """Write answers in three states of a model, next to each other, as they are written.

    In each state the same seeds draw the tokens, so that without a difference in the model there is none in the text.
    """
    from culnig.errors import UsageError
    from culnig.files import check_writable
    from culnig.integrations.conditions import State, states
    from culnig.passes.generation import Sampling
    from culnig.prompts import make_policy

    asked = _prompts(prompts or [], file)
    if samples > 1 and temperature == 0:
        raise UsageError("--samples: without a temperature every sample is the same; give --temperature 0.8")
    values = {"formulation": "short", "chat_template": chat_template, "bos": bos, "system": system}
    policy = make_policy(values, before="--")
    if out is not None:
        check_writable(out)
    intervention = intervening.read()
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    intervention = intervention.prepared(lm, show)
    found = [State("untouched")]
    if intervention.chosen is not None:
        options: dict[str, Any] = {"random_sets": random_sets, "seed": seed, "how": intervening.how}
        found = states(lm, intervention.chosen, intervention.operation, intervention.means, **options)
    ways = [Sampling(max_new_tokens, temperature, top_p, seed + i) for i in range(samples)]
    rows = [row for text in asked for row in _answers(lm, text, policy, found, ways, as_json)]
    if out is not None:
        _write(rows, out)
    if as_json:
        o.print_json({"answers": rows} | ({"out": str(out)} if out else {}))


def _prompts(given: list[str], file: Path | None) -> list[str]:
    """Return the prompts of the command line, of stdin (a prompt a line) and of a file."""
    from culnig.errors import UsageError
    from culnig.files import require_file

    found = [prompt for prompt in given if prompt != "-"]
    try:
        if "-" in given or (not given and file is None and not sys.stdin.isatty()):
            found += sys.stdin.read().splitlines()
        if file is not None:
            found += require_file(file, "a file of prompts").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"the prompts are not UTF-8 text (byte {error.start})") from error
    if not (found := [prompt for prompt in found if prompt.strip()]):
        raise UsageError("what is the prompt? give one, or - for stdin, or --file with a prompt a line")
    return found


def _answers(
    lm: LanguageModel, text: str, policy: Any, found: list[State], ways: list[Sampling], as_json: bool
) -> Iterator[dict[str, Any]]:
    """Answer one prompt in every state and with every seed."""
    from culnig.data import Item
    from culnig.passes.generation import stream_text
    from culnig.prompts import Prompt, encode_prompts

    prompt = Prompt(Item("prompt", "prompt", "", prompt=text), "", text, "", (), 0)
    (ids,) = encode_prompts([prompt], lm.tokenizer, policy, lm.max_length, room=ways[0].tokens)
    for way in ways:
        names = [state.name for state in found]
        with _shown(text, names, way.seed if len(ways) > 1 else None, as_json) as columns:
            for state, column in zip(found, columns, strict=True):
                with state.on(lm):
                    written = stream_text(lm, ids, way, column)
                changed = len(state.neurons) if state.neurons is not None else 0
                yield {"prompt": text, "state": state.name, "neurons": changed, "seed": way.seed, "text": written}


@contextmanager
def _shown(prompt: str, names: list[str], seed: int | None, as_json: bool) -> Iterator[list[Show]]:
    """Yield a function for each state that shows a piece of its answer: in columns on a terminal, else one below another."""
    from rich.console import Console

    console = Console(highlight=False)
    if as_json:
        yield [lambda piece: None for _ in names]
        return
    title = prompt if seed is None else f"{prompt}  (seed {seed})"
    console.print(title, style="bold", markup=False)
    if console.is_terminal:
        yield from _in_columns(console, names)
        return
    begun: set[str] = set()

    def below(name: str) -> Show:
        def show(piece: str) -> None:
            if name not in begun:
                typer.echo(f"\n\n[{name}]" if begun else f"[{name}]")
                begun.add(name)
            typer.echo(piece, nl=False)

        return show

    yield [below(name) for name in names]
    typer.echo("\n")


def _in_columns(console: Any, names: list[str]) -> Iterator[list[Show]]:
    """Yield the functions; each refreshes a table with a column for each state."""
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = dict.fromkeys(names, "")

    def table() -> Table:
        made = Table(expand=True)
        for name in names:
            made.add_column(name, ratio=1, header_style="dim")
        made.add_row(*(Text(text.strip()) for text in texts.values()))
        return made

    with Live(table(), console=console, vertical_overflow="visible") as live:

        def into(name: str) -> Show:
            def show(piece: str) -> None:
                texts[name] += piece
                live.update(table())

            return show

        yield [into(name) for name in names]


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    import json

    from culnig.files import write_text

    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
