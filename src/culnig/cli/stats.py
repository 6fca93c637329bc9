"""`culnig stats`: test saved results in pairs and correct the p-values for their number; no model is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    import pandas as pd

    from culnig.evaluation.comparing import Pair

WIDTH = 130
SHARES = ("correct", "correct_among_options", "p_gold", "outside_options")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "stats",
        epilog="Example:  culnig stats masked.parquet untouched.parquet --by country --correction holm --power 3",
    )(stats)


def stats(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [A2 B2 ...]", help="Result files in pairs: a condition, and what it is compared with."
        ),
    ],
    by: Annotated[str | None, typer.Option(help="One test for each value of a column: country, topic.")] = None,
    metric: Annotated[
        str,
        typer.Option(help="correct, correct_among_options, p_gold, log_odds, outside_options (mcf), option_logmass."),
    ] = "correct",
    correction: Annotated[
        str, typer.Option(help="holm (any false finding) or bh (share of false findings), over the rows of the table.")
    ] = "holm",
    controls: Annotated[
        bool, typer.Option("--controls", help="All files but the first are random draws, a sample like the questions.")
    ] = False,
    power: Annotated[
        float | None, typer.Option(help="Also: how many questions are needed to see a drop of so many points.")
    ] = None,
    assumed: Annotated[
        float | None, typer.Option("--discordance", help="For --power: assumed share of questions that change.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Paired tests of results on the same items, with corrected p-values.

    Two perplexity files are compared by the ratio of their perplexities.
    """
    from culnig.errors import UsageError
    from culnig.evaluation import power_table, significance_table

    if assumed is not None and power is None:
        raise UsageError("--discordance is for --power; give both")
    if not controls and len(files) % 2:
        raise UsageError(f"{len(files)} files do not form pairs; give A B [A2 B2 ...], or --controls after A R0 R1 ...")
    if controls and len(files) < 2:
        raise UsageError("--controls needs a condition and at least one control")
    if _all_text(files):
        _compare_texts(files, seed, as_json)
        return
    pairs = _pairs(files, controls)
    table = significance_table(pairs, by=by, metric=metric, correction=correction, seed=seed)
    planned = None if power is None else power_table(pairs, [power / 100], by=by, assumed=assumed)
    if as_json:
        tests = {"correction": correction, "tests": table.to_dict("records")}
        o.print_json(tests if planned is None else tests | {"power": planned.to_dict("records")})
        return
    _print_tests(table, metric, correction)
    if planned is not None and power is not None:
        _print_power(planned, power, len(table))


def _pairs(files: list[Path], controls: bool) -> list[Pair]:
    from culnig.evaluation import EvalResult

    loaded = [EvalResult.load(path) for path in files]
    if controls:
        return [(loaded[0], loaded[1:])]
    return [(a, [b]) for a, b in zip(loaded[::2], loaded[1::2], strict=True)]


def _all_text(files: list[Path]) -> bool:
    """Return whether the first file is a perplexity result; then the others must be, too."""
    from culnig.evaluation.results import read_rows

    return read_rows(files[0], "a result", set(), "eval")[1].get("kind") == "perplexity"


def _compare_texts(files: list[Path], seed: int, as_json: bool) -> None:
    from culnig.errors import UsageError
    from culnig.evaluation import TextResult, compare_text
    from culnig.formatting import format_number, p_equals

    if len(files) != 2:
        raise UsageError("give two perplexity results: a condition, and what it is compared with")
    c = compare_text(*(TextResult.load(path) for path in files), seed=seed)
    if as_json:
        o.print_json(c.to_dict())
    else:
        typer.echo(
            f"perplexity {format_number(c.a, '.2f')} against {format_number(c.b, '.2f')}: ratio {format_number(c.ratio, '.3f')} (95 % interval"
            f" {format_number(c.low, '.3f')} to {format_number(c.high, '.3f')}; {p_equals(c.to_dict())}; {c.paragraphs} paragraphs,"
            f" {c.tokens:,} tokens)"
        )


def _print_tests(table: pd.DataFrame, metric: str, correction: str) -> None:
    from culnig.formatting import at_floor, format_p
    from culnig.statistics.bootstrap import EXACT

    scale, unit = (100.0, "points") if metric in SHARES else (1.0, "nats")
    exact = "p_mcnemar" in table and not table["p_mcnemar"].isna().all()

    def cells(row: dict[str, Any]) -> dict[str, str]:
        change = f"{scale * row['difference']:+.1f} ({scale * row['low']:+.1f} to {scale * row['high']:+.1f})"
        shown = {
            "n": f"{row['questions']:,}",
            "b → a": f"{scale * row['b']:.1f} → {scale * row['a']:.1f}",
            "a - b (95 % interval)": change,
            "p": format_p(row["p"], at_most=at_floor(row)),
            "adj. p": format_p(row["p_adjusted"], at_most=at_floor(row)),
        }
        if exact:
            shown |= {"lost, gained": f"{row['lost']:.0f}, {row['gained']:.0f}"}
            shown |= {"exact p": f"{row['p_mcnemar']:.2g}", "adj. p ": f"{row['p_mcnemar_adjusted']:.2g}"}
        return shown

    _print(table, cells, "metric")
    typer.echo(
        f"{metric} in {unit}; n questions; p by bootstrap, up to {EXACT} questions by exact sign flips"
        f"{', exact p by McNemar' if exact else ''}; adjusted over {len(table)} tests ({correction})"
    )
    if (draws := int(table["draws"].max())) > 1:
        typer.echo(f"against {draws} random draws; intervals and p take questions and draws as samples")


def _print_power(table: pd.DataFrame, points: float, tests: int) -> None:
    def cells(row: dict[str, Any]) -> dict[str, str]:
        return {
            "n": f"{row['questions']:,}",
            "change their answer": f"{row['discordance']:.1%}",
            "smallest drop seen": f"{100 * row['smallest_drop']:.1f} points",
            f"n needed for {points:g} points": f"{row[f'needed_{points:g}']:,}",
        }

    typer.echo("")
    _print(table, cells, "questions")
    many = f", before correction for {tests} tests" if tests > 1 else ""
    typer.echo(f"seen with 80 % power, two-sided, at level 0.05{many}")


def _print(table: pd.DataFrame, cells: Callable[[dict[str, Any]], dict[str, str]], names_end: str) -> None:
    """Print rows: the columns that name a test (those before `names_end`, if there is a choice), then its cells."""
    from rich.console import Console
    from rich.table import Table

    names = [str(column) for column in table.columns[: table.columns.get_loc(names_end)]]
    if len(names) > 1 and table[names[0]].nunique() == 1:
        names = names[1:]
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    shown = Table(box=None, pad_edge=False)
    for name in names:
        shown.add_column(name, header_style="dim", no_wrap=True)
    for header in cells(rows[0]):
        shown.add_column(header, justify="right", header_style="dim", no_wrap=True)
    for row in rows:
        shown.add_row(*(str(row[name]) for name in names), *cells(row).values())
    # The terminal may wrap a line, because truncated numbers would be worse.
    Console(highlight=False, width=WIDTH).print(shown)
