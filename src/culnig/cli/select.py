"""`culnig select`: choose neuron sets from scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.cli._select_guarded import EPILOG, guarded

if TYPE_CHECKING:
    from culnig.attribution import Scores
    from culnig.neurons import NeuronSet

Neur = Annotated[Path, typer.Option("--neur", help="Scores of the cultural items.")]
Ctrl = Annotated[Path | None, typer.Option("--ctrl", help="Scores of their controls.")]
Crc = Annotated[Path | None, typer.Option("--crc", help="Scores of country reading comprehension.")]
NoCtrl = Annotated[bool, typer.Option("--no-ctrl", help="Select without subtracting the controls.")]
NoCrc = Annotated[bool, typer.Option("--no-crc", help="Select without removing what reads country names.")]
Method = Annotated[
    str | None, typer.Option("--method", help="Which method's scores, where the files hold several: culnig:sum.")
]
Preset = Annotated[str, typer.Option(help="corrected, or paper (the published implementation's divisors).")]


def add_to(app: typer.Typer) -> None:
    """Register the verb and its kinds."""
    group = typer.Typer(no_args_is_help=True, help="Choose neurons by their scores, or step by step.")
    group.command(
        "general",
        epilog="Example:  culnig select general --neur n.safetensors --ctrl c.safetensors --crc r.safetensors --out g.json",
    )(general_)
    group.command(
        "specific",
        epilog="Example:  culnig select specific --neur n.safetensors --ctrl c.safetensors --crc r.safetensors --out sets --countries Iran,Spain",
    )(specific)
    group.command(
        "random", epilog="Example:  culnig select random --like g.json --scores n.safetensors --seed 3 --out r.json"
    )(random)
    group.command("guarded", epilog=EPILOG)(o.grouped(guarded))
    app.add_typer(group, name="select")


def general_(
    neur: Neur,
    out: o.Out,
    ctrl: Ctrl = None,
    crc: Crc = None,
    no_ctrl: NoCtrl = False,
    no_crc: NoCrc = False,
    method: Method = None,
    preset: Preset = "corrected",
    t_mlp: Annotated[float | None, typer.Option(help="Share of the gate neurons taken [0.01].")] = None,
    t_attn: Annotated[float | None, typer.Option(help="Share of the q, k, v neurons taken [0.002].")] = None,
    r: Annotated[float | None, typer.Option(help="Share removed for reading country names [0.01].")] = None,
    ability: Annotated[
        Path | None,
        typer.Option("--ability", "--general", help="Scores of ability items (ability:dev); also removed for these."),
    ] = None,
    r_ability: Annotated[
        float | None, typer.Option("--r-ability", "--r-general", help="Share removed for ability items [0.01].")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Culture-general neurons: high on cultural items, not on controls or country reading."""
    from culnig.files import check_writable
    from culnig.neurons import number_of_neurons
    from culnig.selection import select_general

    check_writable(out)
    a, b, c = _load(neur, ctrl, crc, no_ctrl, no_crc, method)
    plain = load_scores(ability, method) if ability else None
    chosen = select_general(a, b, c, preset=preset, t_mlp=t_mlp, t_attn=t_attn, r=r, ability=plain, r_ability=r_ability)
    chosen.save(out)
    _tell_idle(chosen, b, c)
    _tell(as_json, {str(out): len(chosen)}, number_of_neurons(a.shapes()))


def specific(
    neur: Neur,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write <country>.json into.")],
    ctrl: Ctrl = None,
    crc: Crc = None,
    no_ctrl: NoCtrl = False,
    no_crc: NoCrc = False,
    method: Method = None,
    countries: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    preset: Preset = "corrected",
    t: Annotated[float | None, typer.Option(help="Share of the pool taken [0.003].")] = None,
    r: Annotated[float | None, typer.Option(help="Share removed for reading country names [0.01].")] = None,
    z: Annotated[float | None, typer.Option(help="Least z-score among countries [0.5].")] = None,
    as_json: o.Json = False,
) -> None:
    """Culture-specific neurons: one file a country."""
    from culnig.errors import UsageError
    from culnig.files import check_writable, safe_names
    from culnig.neurons import number_of_neurons
    from culnig.selection import select_specific

    if out.is_file():
        raise UsageError(f"{out} is a file; --out takes a folder here, one file a country is written into it")
    check_writable(out / "x.json")
    a, b, c = _load(neur, ctrl, crc, no_ctrl, no_crc, method)
    sets = select_specific(a, b, c, countries=o.split_list(countries), preset=preset, t=t, r=r, z=z)
    for chosen in list(sets.values())[:1]:
        _tell_idle(chosen, b, c)
    written = {}
    for country, name in safe_names(sets).items():
        path = out / f"{name}.json"
        sets[country].save(path)
        written[str(path)] = len(sets[country])
    _tell(as_json, written, number_of_neurons(a.shapes()))


def random(
    out: o.Out,
    like: Annotated[Path | None, typer.Option(help="Neuron set to match.")] = None,
    scores: Annotated[Path | None, typer.Option(help="A score file of the model: where its shape is read.")] = None,
    neur: Annotated[
        Path | None, typer.Option("--neur", help="With --ctrl and --crc: match what `general` selects.")
    ] = None,
    ctrl: Annotated[Path | None, typer.Option("--ctrl", help="See --neur.")] = None,
    crc: Annotated[Path | None, typer.Option("--crc", help="See --neur.")] = None,
    preset: Preset = "corrected",
    t_mlp: Annotated[float | None, typer.Option(help="See `general`.")] = None,
    t_attn: Annotated[float | None, typer.Option(help="See `general`.")] = None,
    r: Annotated[float | None, typer.Option(help="See `general`.")] = None,
    method: Method = None,
    how: Annotated[
        str,
        typer.Option(
            help="matched (same modules and layers), uniform (same pools), pool (same pools, the set's own neurons included), whole (one pool of gate, q, k and v, as published), norm (matched, and as active)."
        ),
    ] = "matched",
    norms: Annotated[
        Path | None, typer.Option(help="For norm: score file of an activation measure (method wanda_neuron, ...).")
    ] = None,
    norms_method: Annotated[str | None, typer.Option(help="Which method of --norms, if it holds several.")] = None,
    bins: Annotated[int, typer.Option(min=1, help="For norm: quantile bins in each module's layer.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: o.Json = False,
) -> None:
    """Random control: as many neurons as a set has, none of its own unless drawn from the whole pool.

    Give the set with --like and a score file with --scores, or the three score files that `general` would take.
    """
    from culnig.attribution import Scores
    from culnig.errors import UsageError
    from culnig.files import check_writable
    from culnig.neurons import NeuronSet, number_of_neurons
    from culnig.selection import select_general, select_random

    check_writable(out)
    if (norms is not None) != (how == "norm"):
        raise UsageError("--how norm and --norms FILE belong together: give both or neither")
    if neur and ctrl and crc:
        loaded = [load_scores(path, method) for path in (neur, ctrl, crc)]
        shapes = loaded[0].shapes()
        if like is None:
            target = select_general(*loaded, preset=preset, t_mlp=t_mlp, t_attn=t_attn, r=r)
        else:
            target = NeuronSet.load(like)
    elif like and (scores or neur):
        target, shapes = NeuronSet.load(like), Scores.load(scores or neur).shapes()  # type: ignore[arg-type]
    else:
        raise UsageError("give --like SET and --scores FILE, or --neur, --ctrl and --crc")
    activity = _norms(norms, norms_method, target.provenance) if norms else None
    chosen = select_random(target, shapes, how=how, seed=seed, norms=activity, bins=bins)
    if norms:
        chosen.provenance["norms"] = str(norms)
    chosen.save(out)
    _tell(as_json, {str(out): len(chosen)}, number_of_neurons(shapes))


def _load(
    neur: Path, ctrl: Path | None, crc: Path | None, no_ctrl: bool, no_crc: bool, method: str | None
) -> tuple[Scores, Scores | None, Scores | None]:
    """Load the three score files; a missing file must be left out explicitly.

    Raises:
        UsageError: a file is neither given nor left out, or both.
    """
    from culnig.errors import UsageError

    for name, path, without in (("ctrl", ctrl, no_ctrl), ("crc", crc, no_crc)):
        if path is None and not without:
            raise UsageError(f"give --{name} FILE, or say --no-{name} to select without it")
        if path is not None and without:
            raise UsageError(f"--{name} and --no-{name} exclude each other")
    return (
        load_scores(neur, method),
        load_scores(ctrl, method) if ctrl else None,
        load_scores(crc, method) if crc else None,
    )


def load_scores(path: Path, method: str | None) -> Scores:
    """Load a score file, or one method of it."""
    from culnig.attribution import Scores

    scores = Scores.load(path)
    return scores.of_method(method) if method else scores


def _tell_idle(chosen: NeuronSet, ctrl: Scores | None, crc: Scores | None) -> None:
    """Say on stderr which of the given files the method's rule does not use."""
    idle = [name for name, given in (("ctrl", ctrl), ("crc", crc)) if given and name in chosen.provenance["without"]]
    if idle:
        method = chosen.provenance["scores"]["neur"]["method"]
        typer.echo(f"note: {method} does not look at {' and '.join(f'--{name}' for name in idle)}", err=True)


def _norms(path: Path, method: str | None, made: dict[str, Any]) -> dict[str, Any]:
    """Return module -> mean of a score file's method, [L, N]."""
    from culnig.attribution import Scores
    from culnig.errors import UsageError
    from culnig.models.fingerprint import same_model

    scores = Scores.load(path)
    if made.get("model_hash") and scores.meta.get("model_hash") and not same_model(made, scores.meta):
        raise UsageError(f"{path} was made on another model than the set; measure the norms on the set's own model")
    methods = list(dict.fromkeys(m for m, _ in scores.sums))
    if method is None and len(methods) > 1:
        raise UsageError(f"{path} holds scores of {', '.join(methods)}; say which with --norms-method")
    chosen = method or methods[0]
    if chosen not in methods:
        raise UsageError(f"{path} holds no scores of '{chosen}'; it holds {', '.join(methods)}")
    return {module: scores.mean(module, chosen) for m, module in scores.sums if m == chosen}


def _tell(as_json: bool, written: dict[str, int], total: int) -> None:
    if as_json:
        o.print_json({"neurons_in_model": total, "files": written})
        return
    for path, count in written.items():
        empty = "  (none reaches the thresholds)" if not count else ""
        typer.echo(f"{path}: {count:,} of {total:,} neurons ({count / total:.2%}){empty}")
