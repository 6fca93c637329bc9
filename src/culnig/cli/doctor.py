"""`culnig doctor`: check whether this machine is ready."""

from __future__ import annotations

import typer

from culnig.cli import _options as o


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("doctor", epilog="Example:  culnig doctor")(doctor)


def doctor(as_json: o.Json = False) -> None:
    """Check packages, devices, memory, disk and the cache; say what is missing and what to do."""
    import os
    import shutil

    import torch

    from culnig.files import cache_dir, check_writable
    from culnig.machine import total_memory
    from culnig.models.catalogue import CATALOGUE
    from culnig.models.fetching import is_cached
    from culnig.versions import versions

    cache = cache_dir()
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    memory = total_memory() / 1e9
    facts: dict[str, object] = {
        "versions": versions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory, 1),
        "gpus": gpus,
        "cache": str(cache),
        "disk_free_gb": round(free, 1),
        "models": {name: is_cached(alias) for name, alias in CATALOGUE.items()},
    }
    problems = []
    try:
        check_writable(cache / "x")
    except Exception as error:
        problems.append(str(error))
    if free < 2:
        problems.append(
            f"only {free:.1f} GB free at {existing}; the embedded model needs 1 GB: set CULNIG_CACHE elsewhere"
        )
    if memory < 4:
        problems.append(f"only {memory:.1f} GB of memory; the quickstart needs about 3 GB")
    facts["problems"] = problems
    if as_json:
        o.print_json(facts)
    else:
        for key in ("cores", "memory_gb", "gpus", "cache", "disk_free_gb", "models"):
            typer.echo(f"{key.replace('_', ' '):<14} {facts[key] or 'none'}")
        typer.echo(f"{'versions':<14} " + ", ".join(f"{k} {v}" for k, v in versions().items()))
        for problem in problems:
            typer.secho(f"problem: {problem}", fg="red")
        typer.secho("ready" if not problems else "not ready", fg="red" if problems else "green")
    raise typer.Exit(1 if problems else 0)
