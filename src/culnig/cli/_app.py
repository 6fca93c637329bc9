"""The `culnig` command: its verbs, and the handling of errors."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from typing import Any

import typer

from culnig import distributed, stopping
from culnig.cli import (
    answer,
    compare,
    data,
    diff,
    doctor,
    evaluate,
    export,
    fidelity,
    finetune,
    generate,
    init,
    lm_eval,
    merge,
    models,
    modules,
    paper_check,
    perplexity,
    plan,
    pull,
    push,
    report,
    run,
    score,
    select,
    stability,
    stats,
    tasks,
)
from culnig.cli._lines import explained, printable, without_secrets
from culnig.errors import CulnigError, CulnigWarning

INTERRUPTED = 130

app = typer.Typer(
    name="culnig",
    help="Find, test and protect the neurons of a language model that carry cultural understanding.",
    epilog="Start with:  culnig run     then open  runs/quickstart/report.html",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    init,
    run,
    plan,
    paper_check,
    score,
    merge,
    select,
    evaluate,
    answer,
    perplexity,
    stats,
    stability,
    fidelity,
    report,
    export,
    push,
    pull,
    generate,
    lm_eval,
    tasks,
    modules,
    finetune,
    compare,
    diff,
    data,
    models,
    doctor,
):
    verb.add_to(app)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        import culnig

        typer.echo(f"culnig {culnig.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; report an expected error as one line and an exit code, never as a traceback."""
    warnings.showwarning = _one_line(warnings.showwarning)
    try:
        with stopping.on_signals(), distributed.guard():
            _run_verb()
    except CulnigError as error:
        _say(str(error))
        distributed.leave(error.exit_code)
    except stopping.Stopped as stop:
        _say(f"stopped by {stop}; what is done is kept, and the same command goes on from there")
        distributed.leave(stop.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Without this, typer would turn Ctrl-C into exit code 130 and print nothing.
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        _say("interrupted; run the same command again to go on")
        distributed.leave(INTERRUPTED)
    except Exception as error:
        if (reason := explained(error)) is not None:
            _say(reason)
            distributed.leave(1)
        if distributed.size() == 1:
            raise
        traceback.print_exc()
        distributed.leave(1)


def _say(line: str) -> None:
    typer.secho(f"culnig: {without_secrets(printable(line))}", fg="red", err=True)


def _run_verb() -> None:
    """Run the command; several processes end it together, and the main one alone prints results."""
    printing = nullcontext() if distributed.is_main() else redirect_stdout(StringIO())
    try:
        with printing:
            app(prog_name="culnig")  # also under `python -m culnig`: the scripts of completion call this name
    except SystemExit as stop:
        if stop.code:
            raise
    distributed.finish()


def _one_line(shown: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that shows our warnings as one line on stderr, and others as Python does."""

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, CulnigWarning):
            typer.secho(f"  note: {without_secrets(printable(str(message)))}", fg="bright_black", err=True)
        else:
            shown(message, category, *where, **more)

    return show
