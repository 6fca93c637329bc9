"""The projections of a model's decoder layers, with their parameters and the neurons of a set that they compute."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from culnig.errors import ModelError
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet, check_belongs


@dataclass(frozen=True)
class Projection:
    """One projection of one decoder layer, as the architecture has it (fused ones are one projection).

    Attributes:
        path: its path from the model ("model.layers.3.mlp.gate_proj").
        module: its path inside the layer ("mlp.gate_proj").
        layer: number of the layer, from 0.
        parameters: how many numbers it holds.
        outputs: its output coordinates; those of all experts where they are stacked.
        neurons: how many neurons of the set it computes.
        stacked: its path ends in a parameter [experts, rows, inputs], not in a module.
    """

    path: str
    module: str
    layer: int
    parameters: int
    outputs: int
    neurons: int
    stacked: bool = False

    @property
    def density(self) -> float:
        """Share of its outputs that are neurons of the set."""
        return self.neurons / self.outputs


def find_projections(lm: LanguageModel, neurons: NeuronSet) -> list[Projection]:
    """All projections of the decoder layers, layer by layer; families without neurons (o_proj, down_proj) have count 0.

    Raises:
        UsageError: a neuron that the model does not have.
        ModelError: layers without any projection.
    """
    check_belongs(neurons, lm.shapes, lm.name)
    counts: Counter[tuple[int, str | None]] = Counter()
    for site, indices in neurons.by_site().items():
        counts[id(lm.sites[site].module), lm.sites[site].stacked] += len(indices)
    found = []
    for number, layer in enumerate(lm.layers):
        for name, module, stacked in _within(layer):
            tensors = [getattr(module, stacked)] if stacked else list(module.parameters())
            path = name if stacked is None else f"{name}.{stacked}"
            found.append(
                Projection(
                    path=f"{lm.family.layers}.{number}.{path}",
                    module=path,
                    layer=number,
                    parameters=sum(t.numel() for t in tensors),
                    outputs=_outputs(module) if stacked is None else tensors[0].shape[0] * tensors[0].shape[1],
                    neurons=counts[id(module), stacked],
                    stacked=stacked is not None,
                )
            )
    if not found:
        raise ModelError(f"{lm.name}: no projection found in its decoder layers")
    return found


def _within(layer: nn.Module) -> Iterator[tuple[str, nn.Module, str | None]]:
    """(path, module, name of a stacked parameter or None) of a layer's projections; none inside another."""
    inside: list[str] = []
    for name, module in layer.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        if _outputs(module):
            inside.append(f"{name}.")
            yield name, module, None
        for parameter, value in module.named_parameters(recurse=False):
            if value.ndim == 3:
                yield name, module, parameter


def _outputs(module: Any) -> int:
    """Output coordinates of a Linear, a Conv1D, or a quantised or wrapped one; 0 for any other module."""
    return int(getattr(module, "out_features", 0) or getattr(module, "nf", 0))


def decoder_parameters(lm: LanguageModel) -> int:
    """Numbers in the decoder layers, norms included; embeddings, final norm and head are no part of them."""
    return sum(p.numel() for p in lm.layers.parameters())


def rank(projections: Sequence[Projection], seed: int = 0) -> list[Projection]:
    """By count of neurons, most first; then by density; equals in an order drawn with the seed.

    Most projections of a model hold none, and a pick among them in the model's own order would be its first layers.
    """
    shuffled = list(projections)
    random.Random(seed).shuffle(shuffled)
    return sorted(shuffled, key=lambda p: (-p.neurons, -p.density))
