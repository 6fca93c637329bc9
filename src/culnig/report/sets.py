"""Where the neurons of every set sit: the counts that the page draws for the set that is chosen."""

from __future__ import annotations

from typing import Any

from culnig.neurons import MODULES, NeuronSet, widths_of
from culnig.studies import SavedRun

MOST_SETS = 150
"""Sets that the page offers; a comparison of methods can have hundreds."""


def set_counts(run: SavedRun) -> dict[str, Any]:
    """Return the layers' widths by module, and each set's number of neurons in every layer of it."""
    if not run.scores_path("neur").is_file():
        return {"modules": {}, "sets": {}, "leftOut": 0}
    shapes = run.scores("neur").shapes()
    modules = [m for m in MODULES if m in shapes] + [m for m in shapes if m not in MODULES]
    names = sorted(run.set_names(), key=_place)
    counts = {name: _counts(run.neurons(name), modules, shapes) for name in names[:MOST_SETS]}
    widths = {module: list(widths_of(shapes[module])) for module in modules}
    return {"modules": widths, "sets": counts, "leftOut": max(0, len(names) - MOST_SETS)}


def _place(name: str) -> tuple[int, str]:
    """The culture-general set first, then the countries', then the others, random ones last."""
    kinds = ("culture-general", "specific-")
    kind = next((i for i, start in enumerate(kinds) if name.startswith(start)), len(kinds))
    return (9 if "random" in name else kind, name)


def _counts(neurons: NeuronSet, modules: list[str], shapes: Any) -> dict[str, list[int]]:
    found = {module: [0] * shapes[module][0] for module in modules}
    for site, count in neurons.counts().items():
        if site.module in found and site.layer < len(found[site.module]):
            found[site.module][site.layer] = count
    return found
