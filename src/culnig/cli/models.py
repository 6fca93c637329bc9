"""`culnig models`: show the catalogue, fetch models, and inspect a model's sites."""

from __future__ import annotations

from typing import Annotated

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb and its parts."""
    group = typer.Typer(no_args_is_help=True, help="Models: list, fetch, inspect.")
    group.command("list", epilog="Example:  culnig models list")(list_)
    group.command("fetch", epilog="Example:  culnig models fetch smollm2-135m")(fetch)
    group.command("inspect", epilog="Example:  culnig models inspect smollm2-135m")(inspect)
    app.add_typer(group, name="models")


def list_(as_json: o.Json = False) -> None:
    """Aliases of the catalogue, and the architectures that are known."""
    from culnig.models.catalogue import CATALOGUE
    from culnig.models.families import FAMILIES
    from culnig.models.fetching import is_cached

    rows = [
        {
            "alias": alias.name,
            "title": alias.title,
            "licence": alias.licence,
            "megabytes": alias.megabytes,
            "formulation": alias.formulation,
            "cached": is_cached(alias),
        }
        for alias in CATALOGUE.values()
    ]
    if as_json:
        o.print_json(rows)
        return
    for row in rows:
        state = "ready" if row["cached"] else f"{row['megabytes']} MB to fetch"
        typer.echo(f"{row['alias']:<16} {row['title']}; {row['licence']}; {state}")
    typer.echo("besides: GGUF files, local folders and hub ids of known architectures (culnig models inspect)")
    typer.echo(f"architectures (docs/models.md): {', '.join(sorted(FAMILIES.names()))}")


def fetch(
    alias: Annotated[str, typer.Argument(help="Alias of the catalogue.")],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="I have read the model's terms of use, and accept them.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Fetch, verify and convert a catalogue model; it is cached."""
    from culnig.errors import UsageError
    from culnig.models.catalogue import CATALOGUE
    from culnig.models.fetching import fetch as fetch_model

    if alias not in CATALOGUE:
        raise UsageError(f"no alias '{alias}'; there are: {', '.join(CATALOGUE)}")
    show = o.reporter(as_json)
    folder = fetch_model(CATALOGUE[alias], show.say, accept_terms=accept_terms)
    o.print_json({"alias": alias, "folder": str(folder)}) if as_json else typer.echo(f"{alias}: {folder}")


def inspect(
    model: Annotated[str, typer.Argument(help="Alias, GGUF file, folder, or hub id.")],
    revision: o.Revision = None,
    trust: o.Trust = False,
    as_json: o.Json = False,
) -> None:
    """The sites found in a model: which modules, how many layers and neurons."""
    from culnig.neurons import widths_of

    show = o.reporter(as_json)
    lm = o.load(model, show, device="cpu", revision=revision, trust_remote_code=trust)
    facts = {
        "model": lm.name,
        "architecture": lm.model.config.model_type,
        "hash": lm.fingerprint,
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "formulation": lm.formulation,
        "chat_template": bool(lm.tokenizer.chat_template),
        "neurons": lm.num_neurons,
        "sites": {
            module: {"layers": s[0], "neurons": s[1]}
            | ({"experts": s[1] // lm.expert_widths[module]} if module in lm.expert_widths else {})
            | ({"neurons of each layer": list(widths_of(s))} if len(set(widths_of(s))) > 1 else {})
            for module, s in lm.shapes.items()
        },
    }
    if as_json:
        o.print_json(facts)
        return
    template = "with" if facts["chat_template"] else "without"
    typer.echo(f"{lm.name}: {facts['architecture']}, {facts['parameters']:,} parameters, {template} chat template")
    for module, (layers, width) in lm.shapes.items():
        expert = lm.expert_widths.get(module)
        neurons = f"{width // expert} experts x {expert:,} neurons" if expert else f"{width:,} neurons"
        fewer = sum(own < width for own in widths_of(lm.shapes[module]))
        typer.echo(
            f"  {module:<18} {layers} layers x {neurons}" + (f", fewer or none in {fewer} layers" if fewer else "")
        )
    typer.echo(f"  {'all':<18} {lm.num_neurons:,} neurons; hash {lm.fingerprint}")
