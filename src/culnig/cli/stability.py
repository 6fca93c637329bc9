"""`culnig stability`: check whether other items or thresholds would choose the same neurons.  No model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.cli.select import Neur, Preset, load_scores

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Ctrl = Annotated[Path, typer.Option("--ctrl", help="Scores of their controls.")]
Crc = Annotated[Path, typer.Option("--crc", help="Scores of country reading comprehension.")]
Folder = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for tables (Parquet, CSV) and figures (plotly JSON).")
]
Ability = Annotated[
    Path | None, typer.Option("--ability", "--general", help="Scores of ability items, if the selection uses them.")
]
SCORES = "--neur n.safetensors --ctrl c.safetensors --crc r.safetensors --out stability"


def add_to(app: typer.Typer) -> None:
    """Register the verb and its kinds."""
    group = typer.Typer(no_args_is_help=True, help="Would other items or thresholds choose the same neurons? No model.")
    group.command("bootstrap", epilog=f"Example:  culnig stability bootstrap {SCORES} --resamples 200")(bootstrap)
    group.command("sets", epilog="Example:  culnig stability sets a.json b.json c.json --out stability")(sets)
    group.command("size", epilog=f"Example:  culnig stability size {SCORES} --t 0.5,1,2 --r 0,1 --z 0,0.5,1")(size)
    app.add_typer(group, name="stability")


def bootstrap(
    neur: Neur,
    ctrl: Ctrl,
    crc: Crc,
    out: Folder,
    ability: Ability = None,
    method: Annotated[str | None, typer.Option(help="Scoring method, if the files hold several.")] = None,
    preset: Preset = "corrected",
    t_mlp: Annotated[float | None, typer.Option(help="Share of the gate neurons taken [0.01].")] = None,
    t_attn: Annotated[float | None, typer.Option(help="Share of the q, k, v neurons taken [0.002].")] = None,
    r: Annotated[float | None, typer.Option(help="Share removed for reading country names [0.01].")] = None,
    r_ability: Annotated[
        float | None, typer.Option("--r-ability", "--r-general", help="Share removed for ability items [0.01].")
    ] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples of the items.")] = 200,
    halves: Annotated[int, typer.Option(min=0, help="Random splits of the items into halves.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Select culture-general neurons again from resampled items, by the block sums kept in score files."""
    from culnig.files import check_writable
    from culnig.selection import bootstrap_general
    from culnig.studies.stability import frequency_curve

    check_writable(out / "x")
    parts = [load_scores(path, method) for path in (neur, ctrl, crc)]
    plain = load_scores(ability, method) if ability else None
    given: dict[str, Any] = {"preset": preset, "t_mlp": t_mlp, "t_attn": t_attn, "r": r, "r_ability": r_ability}
    with o.reporter(as_json).step("select again", resamples + halves, "selections") as progress:
        made = bootstrap_general(
            *parts, ability=plain, resamples=resamples, halves=halves, seed=seed, progress=progress, **given
        )
    tables = {"stability": made.table}
    figures = {}
    if made.sets:
        tables["frequency"] = made.frequency()
        figures["frequency"] = frequency_curve(tables["frequency"])
    kinds = made.table.groupby("kind").mean(numeric_only=True)
    facts = {
        "neurons": len(made.chosen),
        "blocks": {
            name: len(part.meta["block_items"]) for name, part in zip(("neur", "ctrl", "crc"), parts, strict=True)
        },
        "neur_and_ctrl_paired": made.paired,
        "means": kinds.to_dict("index"),
        "jaccard_interval": {k: list(g["jaccard"].quantile([0.025, 0.975])) for k, g in made.table.groupby("kind")},
    }
    _write(out, tables, figures, facts)
    if as_json:
        o.print_json({"out": str(out)} | facts)
        return
    typer.echo(
        f"{len(made.chosen):,} neurons from all items; neur and ctrl resampled {'together' if made.paired else 'apart'}"
    )
    for kind, says in (("bootstrap", "resampled items against all"), ("half", "one half against the other")):
        if kind in kinds.index:
            row, (low, high) = kinds.loc[kind], facts["jaccard_interval"][kind]  # type: ignore[index]
            chosen = f", {row['rank_chosen']:.2f} over the chosen" if kind == "bootstrap" else ""
            typer.echo(
                f"{says}: Jaccard {row['jaccard']:.2f} (95 % of them {low:.2f} to {high:.2f}; by chance {row['chance']:.3f}),"
                f" rank correlation {row['rank_all']:.2f} over all neurons{chosen}"
            )
    if "frequency" in tables:
        mine = tables["frequency"].query("chosen")["frequency"]
        typer.echo(
            f"{(mine >= 0.9).sum():,} of the {len(mine):,} are chosen in 90 % of the resamples or more; tables in {out}"
        )


def sets(
    files: Annotated[list[Path], typer.Argument(metavar="SET SET ...", help="Neuron sets to compare (JSON).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables; without it they are printed only.")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Jaccard index of every pair of sets (other wordings, halves, methods), and how often each neuron is chosen."""
    from culnig.errors import UsageError
    from culnig.neurons import NeuronSet
    from culnig.selection import jaccard_matrix, selection_frequency

    if len(files) < 2:
        raise UsageError("give at least two sets to compare")
    if len(set(files)) < len(files):
        raise UsageError("the same file is given twice")
    stems = [path.stem for path in files]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in files]
    loaded = {name: NeuronSet.load(path) for name, path in zip(names, files, strict=True)}
    if len(models := sorted({each.model_name for each in loaded.values()})) > 1:
        raise UsageError(f"the sets are of different models: {', '.join(models)}")
    matrix, frequency = jaccard_matrix(loaded), selection_frequency(list(loaded.values()))
    facts: dict[str, Any] = {
        "sizes": {name: len(each) for name, each in loaded.items()},
        "jaccard": matrix.to_dict("index"),
        "in_all": int((frequency["frequency"] == 1).sum()),
        "in_any": len(frequency),
    }
    if out:
        _write(out, {"jaccard": matrix.rename_axis("set").reset_index(), "frequency": frequency}, {}, facts)
    if as_json:
        o.print_json(facts)
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for header in ("Jaccard", "neurons", *names):
        shown.add_column(header, justify="left" if header == "Jaccard" else "right", header_style="dim", no_wrap=True)
    for name, row in matrix.iterrows():
        shown.add_row(str(name), f"{len(loaded[str(name)]):,}", *(f"{value:.2f}" for value in row))
    Console(highlight=False, width=max(80, 2 * max(map(len, names)) + sum(len(name) + 2 for name in names))).print(
        shown
    )
    typer.echo(f"{facts['in_all']:,} neurons are in all sets, {facts['in_any']:,} in any")


def size(
    neur: Neur,
    ctrl: Ctrl,
    crc: Crc,
    out: Folder,
    ability: Ability = None,
    preset: Preset = "corrected",
    t: Annotated[
        str, typer.Option(help="Shares taken, in %, of gate neurons; of q, k, v a fifth of it.")
    ] = "0.25,0.5,1,2,4",
    t_specific: Annotated[str, typer.Option(help="Shares taken, in %, for culture-specific sets.")] = "0.1,0.3,1",
    r: Annotated[str, typer.Option(help="Shares removed for reading country names, in %.")] = "0,0.5,1,2,5",
    z: Annotated[str, typer.Option(help="Least z-scores, for culture-specific sets.")] = "0,0.5,1,2",
    as_json: o.Json = False,
) -> None:
    """Size of the culture-general set against t and r, and of each country's set against t, r and z."""
    from culnig.attribution import Scores
    from culnig.figures import size_curves
    from culnig.files import check_writable
    from culnig.selection import size_general, size_specific

    check_writable(out / "x")
    shares, removed = _shares("--t", t), _shares("--r", r)
    parts = [Scores.load(path) for path in (neur, ctrl, crc)]
    plain = Scores.load(ability) if ability else None
    sizes = size_general(*parts, t_mlp=shares, r=removed, ability=plain, preset=preset)
    specific = size_specific(
        *parts, t=_shares("--t-specific", t_specific), r=removed, z=_numbers("--z", z), preset=preset
    )
    figures = {"size-general": size_curves(sizes, "t_mlp", "r"), "size-specific": size_curves(specific, "z", "t")}
    _write(out, {"size-general": sizes, "size-specific": specific}, figures, {})
    if as_json:
        o.print_json({"general": sizes.to_dict("records"), "specific": specific.to_dict("records")})
        return
    typer.echo("culture-general neurons by t (rows, share of gate neurons) and r (columns)")
    typer.echo(_grid(sizes, "t_mlp", "r"))
    typer.echo("\nculture-specific neurons a country, mean over countries and r, by t (rows) and least z (columns)")
    typer.echo(_grid(specific, "t", "z"))
    typer.echo(f"\ntables and figures in {out}")


def _grid(table: pd.DataFrame, rows: str, columns: str) -> str:
    grid = table.pivot_table(index=rows, columns=columns, values="size", aggfunc="mean")
    grid.index = [f"{100 * share:g} %" for share in grid.index]
    grid.columns = [f"{value:g}" if columns == "z" else f"{100 * value:g} %" for value in grid.columns]
    return grid.round(0).astype(int).to_string()


def _numbers(option: str, text: str) -> list[float]:
    from culnig.errors import UsageError

    try:
        numbers = [float(part) for part in o.split_list(text) or []]
    except ValueError:
        numbers = []
    if not numbers:
        raise UsageError(f"{option} {text}: give numbers separated by commas")
    return numbers


def _shares(option: str, text: str) -> list[float]:
    """Return "0.5,1" in % as [0.005, 0.01]."""
    return [number / 100 for number in _numbers(option, text)]


def _write(out: Path, tables: dict[str, pd.DataFrame], figures: dict[str, go.Figure], facts: dict[str, Any]) -> None:
    """Write tables as Parquet and CSV, figures as plotly JSON, and facts as summary.json."""
    from culnig.files import save_table, write_json, write_text

    for name, table in tables.items():
        save_table(out / name, table)
    for name, figure in figures.items():
        write_text(out / f"{name}.json", figure.to_json())
    if facts:
        write_json(out / "summary.json", facts)
