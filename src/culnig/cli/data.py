"""`culnig data`: list the data, show it as the model sees it, and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb and its parts."""
    group = typer.Typer(no_args_is_help=True, help="Benchmarks and item files: list, show, check.")
    group.command("list", epilog="Example:  culnig data list    or    culnig data list blimp")(list_)
    group.command("show", epilog="Example:  culnig data show everyday:test -n 3 --formulation mcf")(show)
    group.command("check", epilog="Example:  culnig data check everyday    or    culnig data check my.jsonl")(check)
    group.command("import-published", epilog="Example:  culnig data import-published ~/CULNIG --out published")(
        import_published
    )
    app.add_typer(group, name="data")


def list_(
    name: Annotated[str | None, typer.Argument(help="Only this benchmark, with all its splits.")] = None,
    count: Annotated[
        bool, typer.Option("--count", help="Read the benchmarks whose rows are not in culnig, and count them too.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Benchmarks, their splits and sizes: which are ready, which are missing, and how to get those."""
    from culnig.data import BENCHMARKS
    from culnig.files import data_dir

    chosen = BENCHMARKS.items() if name is None else [(name, BENCHMARKS.get(name))]
    rows = [row for each, benchmark in chosen for row in _rows(each, benchmark, count)]
    if as_json:
        o.print_json(rows)
        return
    missing = {row["name"].partition(":")[0]: row["how"] for row in rows if row["how"]}
    if name is None:
        rows = _one_a_missing(rows)
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = (("name", "left"), ("state", "left"), ("items", "right"), ("groups", "right"), ("what it is", "left"))
    for column, justify in columns:
        table.add_column(column, justify=justify, header_style="dim")  # type: ignore[arg-type]
    for row in rows:
        numbers = (f"{row['items']:,}" if row["items"] is not None else "", str(row["countries"] or ""))
        table.add_row(row["name"], row["state"], *numbers, row["what"])
    Console().print(table)
    typer.echo("")
    for each, how in missing.items():
        typer.secho(f"{each} is missing: ", fg="yellow", nl=False)
        typer.echo(how)
    if missing:
        typer.echo(f"\nFiles are searched in {data_dir()} (CULNIG_DATA names another folder).")


def _one_a_missing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with one row for each missing benchmark, which says what it is, in place of one a split."""
    from culnig.data import BENCHMARKS

    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["name"].partition(":")[0]
        if row["how"]:
            kept.setdefault(name, {**row, "name": name, "what": BENCHMARKS.get(name).description})
        else:
            kept[row["name"]] = row
    return list(kept.values())


def _rows(name: str, benchmark: Any, count: bool) -> list[dict[str, Any]]:
    """Return one row for each split, with the sizes of embedded data and, with `count`, of all data that is ready."""
    from collections import Counter

    from culnig.data.sources import External

    external = isinstance(benchmark, External)
    state = benchmark.state() if external else None
    rows = []
    for split in benchmark.splits:
        known = state is None or (count and state.ready)
        countries = Counter(item.country for item in benchmark.load(split.name, seed=0)) if known else Counter()
        rows.append(
            {
                "name": name if split.default else f"{name}:{split.name}",
                "state": "missing" if state and not state.ready else "ready",
                "items": countries.total() if known else None,
                "countries": 0 if set(countries) == {"none"} else len(countries) if known else None,
                "what": split.description,
                "source": benchmark.source,
                "where": state.where if state else "culnig",
                "how": state.how if state else "",
            }
        )
    return rows


def show(
    name: Annotated[str, typer.Argument(help="benchmark:split, your own.yaml:split, or an item file.")],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many items.")] = 3,
    formulation: Annotated[str, typer.Option(help="mcf or cf.")] = "cf",
    wordings: o.Wordings = "1",
    template: o.TemplateFile = None,
    seed: o.Seed = 0,
) -> None:
    """Prompts as the model sees them (before any chat template), with the gold answer marked."""
    from culnig.data import ItemList, load_items
    from culnig.errors import UsageError
    from culnig.prompts import PromptPolicy, render

    if formulation not in ("mcf", "cf"):
        raise UsageError(f"--formulation {formulation}: say mcf or cf")
    if not wordings.isdigit() and wordings != "all":
        raise UsageError(f"--wordings {wordings}: give a number, or all")
    count = int(wordings) if wordings.isdigit() else "all"
    items = load_items(name, seed=seed)
    settings = {"formulation": "short" if items[0].answers else formulation, "wordings": count, "template": template}
    policy = PromptPolicy.model_validate(settings)
    if isinstance(items, ItemList):
        typer.secho(f"{len(items):,} items of {items.account}\n", fg="bright_black", err=True)
    step = max(1, len(items) // number)
    for prompt in render(items[::step][:number], policy):
        item = prompt.item
        typer.secho(f"{item.id}  {item.country}  {item.topic}  {prompt.wording}", fg="cyan")
        typer.echo("\n".join(part for part in (prompt.system, prompt.text, prompt.prefix) if part))
        for i, answer in enumerate(prompt.answers):
            mark = "*" if i == prompt.gold or item.answers else " "
            typer.echo(f"  {mark} {answer!r}")
        typer.echo("")


def check(
    name: Annotated[str, typer.Argument(help="Benchmark or own.yaml (all splits), one split, or an item file.")],
    control: Annotated[
        str | None, typer.Option("--control", help="Item file or split with the controls of NAME, to compare.")
    ] = None,
    seed: o.Seed = 0,
    as_json: o.Json = False,
) -> None:
    """Lint items: doubled or overlapping options, give-aways, imbalance, controls that do not match.  Exit 1 on errors."""
    from culnig.data import load_items
    from culnig.data.lint import lint, lint_control

    problems = lint(name, seed=seed)
    if control is not None:
        problems += lint_control(load_items(name, seed=seed), load_items(control, seed=seed), name)
    errors = sum(problem.error for problem in problems)
    if as_json:
        o.print_json([problem._asdict() for problem in problems])
    else:
        for problem in problems:
            colour = "red" if problem.error else "yellow"
            typer.secho("error  " if problem.error else "warning", fg=colour, nl=False)
            typer.echo(f"  {problem.where}: {problem.what}")
        typer.echo(f"{name}: {errors} errors, {len(problems) - errors} warnings")
    raise typer.Exit(1 if errors else 0)


def import_published(
    path: Annotated[Path, typer.Argument(help="Folder of a clone of github.com/ynklab/CULNIG.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("published"),
    as_json: o.Json = False,
) -> None:
    """Make prompt templates and CountryRC's items of a clone of the published repository, whose texts culnig lacks.

    Nothing of the clone is run.  What it gives is compared with the hashes of the published revision.
    """
    from culnig.prompts.published import REVISION, read_clone, save_all

    found = list(save_all(read_clone(path), out))
    if as_json:
        o.print_json({"revision": REVISION, "files": {str(file): known for file, known in found}})
        return
    width = max(len(str(file)) for file, _ in found)
    for file, known in found:
        typer.echo(f"{file!s:<{width}}  ", nl=False)
        typer.secho("as published" if known else "differs", fg=None if known else "yellow")
    if differing := sum(not known for _, known in found):
        typer.secho(
            f"warning: {differing} of {len(found)} files are not what the published revision ({REVISION[:7]}) gives: the"
            " clone is of another revision, or was edited",
            fg="yellow",
            err=True,
        )
    items = [file for file, _ in found if file.suffix == ".jsonl"]
    typer.echo(f"\nUse the templates: --template {out}   or in a config   prompts: {{template: {out}}}")
    typer.echo("Use CountryRC's items by their names: " + ", ".join(map(str, items)))
