"""`culnig select guarded`: a set under a budget of harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from culnig.cli import _options as o
from culnig.errors import UsageError

if TYPE_CHECKING:
    from culnig.data import Item
    from culnig.guarded import GuardedPath

DEFAULT_PROTECT = "ability:dev,school:dev,facts=facts:world-dev"
SEARCH = "Search"

EPILOG = (
    "Example:  culnig select guarded --model smollm2-135m --culture everyday:neur --countries blend"
    " --harm perplexity=5%,ability=2,facts=2 --max-neurons 150 --out guarded.json"
    "\n\nYour own data:  culnig select guarded --model M --culture mine.yaml:neur"
    " --protect skills=skills.jsonl --texts texts.txt --harm perplexity=3%,skills=1 --out guarded.json"
    "\n\nOne country's neurons:  culnig select guarded --model smollm2-135m --culture everyday:neur --countries Iran"
    " --against-others --harm perplexity=3%,others=2 --out iran.json"
)


def guarded(
    *,
    model: o.Model,
    culture: Annotated[str, typer.Option(help="Items of what should fall: benchmark:split, or a file.")],
    out: o.Out,
    controls: Annotated[
        str,
        typer.Option(
            help="Items to contrast culture with; countries: the same questions about other countries; none; auto: countries where questions name one, else the split ctrl."
        ),
    ] = "auto",
    protect: Annotated[
        str, typer.Option(help="Items of what should stay, separated by commas: NAME=ITEMS, or benchmark:split.")
    ] = DEFAULT_PROTECT,
    against_others: Annotated[
        bool,
        typer.Option(
            "--against-others", help="With --countries: protect the items of all other countries, as `others`."
        ),
    ] = False,
    texts: Annotated[
        str | None,
        typer.Option(help="Text whose loss should stay (a file of paragraphs); without it the model writes its own."),
    ] = None,
    harm: Annotated[
        str, typer.Option(help="Most that each guard may get worse: perplexity in %, others in points of P(gold).")
    ] = "perplexity=5%",
    max_neurons: Annotated[int, typer.Option(min=1, help="Neurons in the set at most.", rich_help_panel=SEARCH)] = 150,
    target: Annotated[
        float | None,
        typer.Option(help="Stop when culture has fallen by so many points.", rich_help_panel=SEARCH),
    ] = None,
    modules: Annotated[
        str, typer.Option(help="Take neurons of these modules, separated by commas; all.", rich_help_panel=SEARCH)
    ] = "mlp.gate_proj",
    method: Annotated[
        str,
        typer.Option(
            help="greedy ranks again in every round; mask learns what to silence together; ratio, difference, veto rank once.",
            rich_help_panel=SEARCH,
        ),
    ] = "greedy",
    op: Annotated[
        str,
        typer.Option(
            help="What is done to the neurons: suppress; mean or control replace them by means.", rich_help_panel=SEARCH
        ),
    ] = "suppress",
    among: Annotated[
        Path | None, typer.Option(help="Choose of the neurons of this set only.", rich_help_panel=SEARCH)
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="Neurons that a round adds.", rich_help_panel=SEARCH)] = 20,
    ranked_on: Annotated[
        int, typer.Option(min=4, help="Items of each set that a round ranks by, at most.", rich_help_panel=SEARCH)
    ] = 480,
    checked_on: Annotated[
        int, typer.Option(min=8, help="Items of each set that a round is checked on.", rich_help_panel=SEARCH)
    ] = 240,
    choosing: o.Choosing,
    prompting: o.Prompting,
    loading: o.Loading,
    as_json: o.Json = False,
) -> None:
    """Choose neurons step by step that cost culture, within a budget of harm that is checked after every round.

    The order of choice is kept, so every prefix of the set is a set. All data given here are development data.
    A third of the culture questions and half of the others are for checking, and no round ranks by them.
    An interrupted search goes on from its last round.
    """
    from culnig.data import load_texts
    from culnig.files import check_writable
    from culnig.guarded import GuardedSettings, guarded_data, parse_harm, select_guarded
    from culnig.guarded.settings import Choice, Replacement
    from culnig.neurons import NeuronSet

    check_writable(out)
    candidates = NeuronSet.load(among) if among else None
    settings = GuardedSettings(
        method=_one_of("--method", method, Choice),
        operation=_one_of("--op", op, Replacement),
        harm=parse_harm(harm),
        max_neurons=max_neurons,
        target=None if target is None else target / 100,
        modules=[] if modules == "all" else o.split_list(modules) or [],
        step=step,
        items=ranked_on,
        checked=checked_on,
        seed=choosing.seed,
    )
    protected = {name: o.Choosing(seed=choosing.seed).load(source) for name, source in _named(protect).items()}
    if against_others:
        protected |= {"others": _others(culture, choosing, protected)}
    _check_names(settings.harm, protected)
    items = choosing.load(culture)
    contrast = _controls(controls, culture, items, choosing)
    given = load_texts(texts) if texts else None
    show = o.reporter(as_json)
    lm = loading.load(model, show)
    with show.step("prepare the data"):
        data = guarded_data(
            lm, items, controls=contrast, protect=protected, texts=given, checked=checked_on, seed=choosing.seed
        )
    progress = out.with_name(f".{out.name}.progress")
    path = select_guarded(
        lm, data, settings, policy=prompting.policy(lm), among=candidates, checkpoint=progress, reporter=show
    )
    path.neurons.save(out)
    progress.unlink(missing_ok=True)
    _tell(path, out, as_json)


def _one_of(option: str, text: str, choices: Any) -> Any:
    """Return the text if it is one of the choices of a `Literal`."""
    if text not in get_args(choices):
        raise UsageError(f"{option} {text}: there are {', '.join(get_args(choices))}")
    return text


def _named(protect: str) -> dict[str, str]:
    """NAME=ITEMS, or benchmark:split named by its benchmark -> name: items."""
    found: dict[str, str] = {}
    for part in o.split_list(protect) or []:
        name, equals, source = part.partition("=")
        name, source = (name.strip(), source.strip()) if equals else (Path(part.split(":")[0]).stem, part)
        if not name or not source:
            raise UsageError(f"--protect {part}: write NAME=ITEMS or benchmark:split")
        if name in found:
            raise UsageError(f"--protect names {name} twice; write NAME=ITEMS with another name")
        found[name] = source
    return found


def _others(culture: str, choosing: o.Choosing, protected: dict[str, list[Item]]) -> list[Item]:
    """Return the culture items of all countries that are not chosen.

    Raises:
        UsageError: no countries are chosen, none are left, or something else is called `others`.
    """
    if not choosing.countries or "others" in protected:
        raise UsageError("--against-others needs --countries, and nothing else may be called others")
    chosen = {item.country for item in choosing.load(culture)}
    left = [item for item in dataclasses.replace(choosing, countries=None).load(culture) if item.country not in chosen]
    if not left:
        raise UsageError(f"--against-others: {culture} has no other countries than {choosing.countries}")
    return left


def _check_names(harm: dict[str, float], protected: dict[str, list[Item]]) -> None:
    """Check before the model is loaded that every budget is of something that is protected."""
    for name in harm:
        if name != "perplexity" and name not in protected:
            there = ", ".join(["perplexity", *protected])
            raise UsageError(f"--harm {name}: nothing of that name is protected; there are {there}")


def _controls(controls: str, culture: str, items: list[Item], choosing: o.Choosing) -> list[Item] | str:
    from culnig.guarded.data import name_countries

    if controls == "auto" and name_countries(items):
        return "countries"
    if controls in ("countries", "none"):
        return "countries" if controls == "countries" else []
    if controls != "auto":
        return choosing.load(controls)
    place = culture.partition("@")
    if not place[0].endswith(":neur"):
        raise UsageError(f"--culture {culture}: no controls are known for it; give --controls ITEMS, countries or none")
    return choosing.load(place[0].removesuffix("neur") + "ctrl" + place[1] + place[2])


def _tell(path: GuardedPath, out: Path, as_json: bool) -> None:
    kept = [each for each in path.rounds if each.kept]
    if as_json:
        facts: dict[str, Any] = {"out": str(out), "neurons": len(path.neurons), "stopped": path.stopped}
        o.print_json(facts | {"rounds": [each.to_json() for each in path.rounds]})
        return
    typer.echo(f"{out}: {len(path.neurons)} neurons in {len(path.rounds)} rounds; stopped because {path.stopped}")
    for change in kept[-1].changes.values() if kept else []:
        unit = "%" if change.name == "perplexity" else "points"
        low, high = 100 * change.low, 100 * change.high
        typer.echo(f"  {change.name}: {100 * change.change:+.1f} {unit} ({low:+.1f} to {high:+.1f})")
