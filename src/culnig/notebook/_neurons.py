"""A set of neurons: where they sit, and the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from culnig import figures
from culnig.errors import UsageError
from culnig.neurons import NeuronSet, check_belongs, number_of_neurons
from culnig.notebook._view import View
from culnig.studies.layers import density_by_layer, site_table

FIRST = 10
"""Neurons in the short table."""


def view_neurons(neurons: NeuronSet, *, of: Any = None, count: int = 25) -> View:
    """Draw where the neurons of a set sit, and list the first.

    Args:
        neurons: the set.
        of: the model, or scores of it; then layers without a neuron are drawn, too, and densities.
        count: neurons in the table, in the set's order.

    Raises:
        UsageError: `of` is no model and no scores, or the set does not belong to it.
    """
    shapes = shapes_of(of) if of is not None else seen_shapes(neurons)
    text = [f"{len(neurons):,} neurons of {neurons.model_name or 'an unnamed model'}."]
    drawn = [
        (
            "Where the neurons sit: number in each module of each layer.",
            figures.layer_map(neurons.counts(), shapes),
        )
    ]
    if of is not None:
        check_belongs(neurons, shapes, neurons.model_name or "the model")
        total = number_of_neurons(shapes)
        text = [f"{text[0][:-1]}, {len(neurons) / total:.2%} of its {total:,}."]
        caption = "Density by layer: neurons of 1,000 in the layer's MLP gate (red) and in its queries, keys and values (blue)."
        sites = site_table(neurons, dict(shapes))
        if len(sites) and sites["neurons"].sum():
            drawn.append((caption, density_by_layer(sites)))
    return View("Neurons", text, drawn if len(neurons) else [], {f"The first {count}": neuron_table(neurons, count)})


def brief_neurons(neurons: NeuronSet) -> View:
    """Count a set's neurons by module, and list the first."""
    modules = pd.Series([neuron.module for neuron in neurons], dtype=object)
    counts = modules.value_counts(sort=False).rename_axis("module").reset_index(name="neurons")
    tables = {"By module": counts, f"The first {FIRST}": neuron_table(neurons, FIRST)}
    return View(f"{len(neurons):,} neurons of {neurons.model_name or 'an unnamed model'}", tables=tables)


def neuron_table(neurons: NeuronSet, count: int) -> pd.DataFrame:
    """Return the first neurons of a set: rank, module, layer, neuron and score."""
    first = list(neurons.scores.items())[:count]
    rows = [(i, n.module, n.layer, n.index, score) for i, (n, score) in enumerate(first, start=1)]
    return pd.DataFrame(rows, columns=["rank", "module", "layer", "neuron", "score"])


def shapes_of(thing: Any) -> Mapping[str, tuple[int, int]]:
    """Return module -> (L, N) of a model or of scores.

    Raises:
        UsageError: it is neither.
    """
    shapes = getattr(thing, "shapes", None)
    found = shapes() if callable(shapes) else shapes
    if not isinstance(found, Mapping):
        raise UsageError(f"`of` is the model or its scores, not {type(thing).__name__}")
    return found


def seen_shapes(neurons: NeuronSet) -> dict[str, tuple[int, int]]:
    """Return module -> (L, N) that is just large enough for a set; all modules get the layers of the deepest."""
    layers = max((neuron.layer for neuron in neurons), default=0) + 1
    widths: dict[str, int] = {}
    for neuron in neurons:
        widths[neuron.module] = int(np.maximum(widths.get(neuron.module, 0), neuron.index + 1))
    return {module: (layers, width) for module, width in widths.items()}
