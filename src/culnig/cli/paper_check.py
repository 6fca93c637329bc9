"""`culnig paper-check`: list where a config leaves the published protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.studies.protocol import Deviation


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("paper-check", epilog="Example:  culnig paper-check paper-gemma-3-12b     culnig paper-check my.yaml")(
        paper_check
    )


def paper_check(
    config: Annotated[str, typer.Argument(help="YAML file, or an embedded config (paper-gemma-3-12b, ...).")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override: a.b=value; repeatable.")] = None,
    as_json: o.Json = False,
) -> None:
    """List every deviation of a config from the paper's protocol: setting, published, here, why.

    Further test sets, controls and studies are no deviation.  The exit code is 0 whatever is found.
    """
    from dataclasses import asdict

    from culnig.run.config import load_config
    from culnig.studies.protocol import deviations

    made = load_config(config, settings or [])
    found = deviations(made)
    if as_json:
        counts = {about: sum(one.about == about for one in found) for about in ("protocol", "texts")}
        o.print_json({"config": made.name, **counts, "deviations": [asdict(one) for one in found]})
    else:
        _show(made.name, found)


def _show(name: str, found: list[Deviation]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("setting", "published", "here", "why"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(one.setting, one.published, one.here, one.why, style="dim" if one.about == "texts" else None)
    console.print(table)
    texts = sum(one.about == "texts" for one in found)
    protocol = len(found) - texts
    console.print(
        f"{name}: {protocol} deviation{'s' if protocol != 1 else ''} from the published protocol; {texts} more (dimmed)"
        " concern texts of prompts and lists of words alone",
        soft_wrap=True,
    )
