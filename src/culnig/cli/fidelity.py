"""`culnig fidelity`: compare scores with the true effect of suppressing a neuron."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.studies.fidelity import Fidelity

Folder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the rows (Parquet), tables and figures.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "fidelity",
        epilog="Example:  culnig fidelity --model smollm2-135m --items everyday:neur --controls everyday:ctrl --countries Iran,Spain --draws 1"
        " --limit-per-country 4 --layers 6 --out fidelity     Again, without the model:  culnig fidelity --out fidelity",
    )(o.grouped(fidelity))


def fidelity(
    *,
    out: Folder,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As for `score`; without it the rows in --out are looked at again."),
    ] = None,
    items: Annotated[str | None, typer.Option("--items", "-i", help="As for `score`; a few dozen are enough.")] = None,
    controls: Annotated[
        str | None,
        typer.Option(help="Their controls (everyday:ctrl), for D = S - S(controls); without them S is ranked."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Methods that estimate the loss of P(gold); if not given, culnig,culnig:sum,atp,relp,ig:gate:steps=4."
        ),
    ] = None,
    modules: Annotated[
        str | None, typer.Option(help="Neurons of these, separated by commas; if not given, of gate, q, k, v.")
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="So many layers, evenly spread; if not given, all.")] = None,
    per_cell: Annotated[
        int, typer.Option(min=1, help="Neurons of each tenth of the scores, in each module of each layer.")
    ] = 1,
    top: Annotated[
        int | None,
        typer.Option(min=0, help="Neurons of each pool among the union of all methods' best; 0 for none."),
    ] = 80,
    top_share: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="How much of a pool counts as a method's best, in %.")
    ] = 2.0,
    given: Annotated[Path | None, typer.Option(help="Neuron set that is suppressed already while neurons are.")] = None,
    largest: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="Largest group suppressed together, in % of the neurons.")
    ] = 1.0,
    groups: Annotated[int, typer.Option(min=0, help="Group sizes from 1 to the largest; 0 for none.")] = 9,
    choosing: o.Choosing,
    prompting: o.Prompting,
    loading: o.Loading,
    token_budget: o.Budget = None,
    as_json: o.Json = False,
) -> None:
    """Suppress neurons exactly, one by one, and set the methods' estimates beside it.

    The neurons are a sample of all, and one of those that selection may take.  A neuron costs about half a forward pass
    over items and controls.  The rows stay in --out; every figure is computed from them.  A measurement that was
    interrupted goes on from its last finished block of neurons.
    """
    from culnig.errors import UsageError
    from culnig.files import check_writable
    from culnig.neurons import NeuronSet
    from culnig.studies.fidelity import Fidelity, Sampling, measure_fidelity
    from culnig.studies.fidelity.exact_rows import PROGRESS, forget

    if (model is None) != (items is None):
        raise UsageError("--model and --items belong together: give both, or neither to read saved rows again")
    if model is None or items is None:
        if method or modules or layers or controls or given or choosing.countries:
            raise UsageError("saved rows are read unchanged; to measure others give --model and --items")
        found = Fidelity.load(out)
    else:
        check_writable(out / "x")
        if largest == 0:
            raise UsageError("--largest 0: give a share of the neurons in %, or --groups 0 for no groups")
        sampling = Sampling(
            layers=layers,
            per_cell=per_cell,
            top=top,
            top_share=top_share / 100,
            largest=largest / 100,
            groups=groups,
            seed=choosing.seed,
        )
        chosen, others = choosing.load(items), choosing.load(controls) if controls else None
        suppressed = NeuronSet.load(given) if given else None
        show = o.reporter(as_json)
        lm = loading.load(model, show)
        if suppressed is not None:
            o.check_model(suppressed, lm, given)
        found = measure_fidelity(
            lm,
            chosen,
            controls=others,
            **({"methods": method} if method else {}),
            modules=o.split_list(modules),
            sampling=sampling,
            given=suppressed,
            policy=prompting.scoring_policy(lm),
            token_budget=token_budget,
            keep=out / PROGRESS,
            reporter=show,
        )
        found.save(out)
        forget(out / PROGRESS)
    _tell(found, out, choosing.seed, as_json)


def _tell(found: Fidelity, out: Path, seed: int, as_json: bool) -> None:
    from culnig.files import save_table, write_text
    from culnig.studies.fidelity import both_strata, by_level
    from culnig.studies.fidelity import figures as fidelity_figures
    from culnig.studies.fidelity.shown import agreement_text, given_text, group_text, sample_text, top_text
    from culnig.studies.fidelity.tables import with_intervals

    strata = both_strata(found, seed=seed)
    tables = by_level(found, seed=seed)
    for name, table in ({"strata": strata} | {f"by-{level}": each for level, each in tables.items()}).items():
        save_table(out / name, table)
    figures = {"by-module": fidelity_figures.agreement_by_module(tables["module"])} if len(tables["module"]) else {}
    if len(tables["layer"]):
        figures["by-layer"] = fidelity_figures.agreement_by_layer(tables["layer"])
    if "precision" in strata:
        figures["precision"] = fidelity_figures.precision(strata)
        best = found.of("top", found.quantities[-1])
        figures["exact-and-estimate"] = fidelity_figures.exact_and_estimate(best, found.methods)
    if len(found.groups):
        figures["groups"] = fidelity_figures.groups(found.groups)
    for name, figure in figures.items():
        write_text(out / f"{name}.json", figure.to_json())
    if as_json:
        records: dict[str, Any] = {level: table.to_dict("records") for level, table in tables.items()}
        records["strata"] = strata.to_dict("records")
        o.print_json({"out": str(out), "meta": found.meta, "groups": found.groups.to_dict("records")} | records)
        return
    typer.echo(sample_text(found))
    for line in (*top_text(found), *given_text(found)):
        typer.echo(line)
    for table in (strata, tables["module"]):
        if len(table):
            typer.echo(f"\n{with_intervals(table).to_string(index=False)}")
    typer.echo()
    for line in agreement_text(tables, found.methods[0]):
        typer.echo(line)
    if len(found.groups):
        typer.echo(group_text(found.groups))
    typer.echo(f"\nrows, tables and figures in {out}")
