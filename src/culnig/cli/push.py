"""`culnig push`: write a neuron set as a small repository, to a folder or to the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from culnig.cli import _options as o

if TYPE_CHECKING:
    from culnig.integrations import Repository
    from culnig.progress import Reporter


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        "push",
        epilog="Example:  culnig push runs/quickstart/neurons/culture-general.json shared/general"
        "\n\nWith results:  culnig push g.json shared/g --results untouched.parquet --results masked.parquet"
        "\n\nTo the hub:  culnig push g.json hf:OWNER/NAME",
    )(push)


def push(
    neurons: Annotated[Path, typer.Argument(metavar="SET", help="Neuron set (JSON).")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="New folder, or hf:owner/name for the hub.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Its model, if the file does not name it by hash.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", "-r", help="Result of `culnig eval`, untouched or under this set. Repeatable."),
    ] = None,
    controls: Annotated[
        list[Path] | None, typer.Option("--control", help="Matched random set to put beside it. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Title of the card; by default the file's name.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository on the hub public.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write a set with its card, figures, guards, random sets, config and checksums.

    Of a set inside a run's folder, the run's own figures, guards, random sets and config are taken.
    """
    from culnig.integrations import push as send
    from culnig.integrations.hub import hub_id

    hub_id(target)
    show = o.reporter(as_json)
    repository = _repository(neurons, name or neurons.stem, results or [], controls or [])
    if model is not None:
        repository = _with_model(repository, model, show, neurons)
    place = send(repository, target, public=public)
    facts = {"out": place, "neurons": len(repository.neurons), "model": repository.model}
    facts |= {"figures": len(repository.figures), "guards": len(repository.guards)}
    if as_json:
        o.print_json(facts | {"controls": list(repository.controls)})
        return
    typer.echo(
        f"{place}: {len(repository.neurons):,} neurons of {repository.model['name']}, {len(repository.figures)} figures,"
        f" {len(repository.guards)} guards, {len(repository.controls)} random sets"
    )


def _repository(path: Path, name: str, results: list[Path], controls: list[Path]) -> Repository:
    """Put together what is known of a set."""
    from culnig.errors import UsageError
    from culnig.integrations import Repository
    from culnig.integrations.figures import Measured, of_results, of_run, run_of
    from culnig.neurons import NeuronSet

    chosen = NeuronSet.load(path)
    run = run_of(path)
    found = of_run(run, path.stem) if run else Measured()
    model_hash = chosen.provenance.get("model_hash", "")
    if results and not model_hash:
        raise UsageError(
            f"{path} does not name its model by hash, so results cannot be told to be of it; leave --results out"
        )
    rows = [*found.figures, *of_results(results, chosen, model_hash)]
    sets = found.controls | {each.stem: NeuronSet.load(each) for each in controls}
    return Repository(name, chosen, sets, rows, found.guards, found.config)


def _with_model(repository: Repository, model: str, show: Reporter, path: Path) -> Repository:
    """Check the set against the model that was named, and record its hash where the set has none."""
    from culnig.neurons import NeuronSet

    lm = o.load(model, show)
    chosen = repository.neurons
    o.check_model(chosen, lm, path)
    known = {"model_hash": lm.fingerprint} | ({"revision": lm.revision} if lm.revision else {})
    whole = NeuronSet(
        chosen.scores,
        model_name=chosen.model_name or lm.name,
        dataset_ids=chosen.dataset_ids,
        provenance=known | chosen.provenance,
        extra=chosen.extra,
        expert_widths=chosen.expert_widths,
    )
    return replace(repository, neurons=whole)
