"""suppress, enhance, scale, replace: context managers that change neurons' values and restore the model afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch

from culnig.attribution import Means
from culnig.errors import UsageError
from culnig.intervention.editing import edited
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet, Site
from culnig.passes.outputs import Change

Block = AbstractContextManager[LanguageModel]


def scale(lm: LanguageModel, neurons: NeuronSet, factor: float, *, how: str = "auto") -> Block:
    """Multiply the neurons' values by `factor` within a block; afterwards the model is the same as before, to the byte.

    Blocks can be nested; the factors of a neuron in several blocks multiply.

    Args:
        lm: the model, which is edited in place.
        neurons: the neurons to scale.
        factor: 0 silences, 2 doubles.
        how: "weights" edits weights, "hooks" multiplies outputs; "auto" edits weights wherever they can be edited.

    Raises:
        UsageError: the model lacks a neuron, `how` is unknown, or weights cannot be edited.
    """
    return edited(lm, neurons, lambda site, indices: Change(factor), how)


def suppress(lm: LanguageModel, neurons: NeuronSet, *, how: str = "auto") -> Block:
    """Silence neurons within a block: `scale` with factor 0 (zero ablation)."""
    return scale(lm, neurons, 0.0, how=how)


def enhance(lm: LanguageModel, neurons: NeuronSet, *, how: str = "auto") -> Block:
    """Double neurons within a block: `scale` with factor 2."""
    return scale(lm, neurons, 2.0, how=how)


def replace(
    lm: LanguageModel, neurons: NeuronSet, values: Means | Mapping[Neuron, float], *, how: str = "auto"
) -> Block:
    """Put fixed numbers in the place of the neurons' values, at all positions, within a block (mean ablation).

    Afterwards the model is the same as before, to the byte.  Blocks can be nested; each works on what the blocks
    around it give.  An expert's neuron is replaced at the tokens that are routed to its expert.

    Args:
        lm: the model, which is edited in place.
        neurons: the neurons.
        values: the numbers: `mean_values` of some items, or a mapping from neurons to numbers.
        how: as for `scale`.

    Raises:
        UsageError: as `scale`; or means of another model, a neuron without a number, or a number that is not finite.
    """
    if isinstance(values, Means):
        values.check(lm)

    def change(site: Site, indices: list[int]) -> Change:
        if isinstance(values, Means):
            return Change(0.0, values.of(site, indices))
        return Change(0.0, torch.tensor([_number(values, Neuron(*site, index)) for index in indices]))

    return edited(lm, neurons, change, how)


def _number(values: Mapping[Neuron, float], neuron: Neuron) -> float:
    number = float(values.get(neuron, "nan"))
    if number - number != 0:  # true of nan and of both infinities
        raise UsageError(f"{neuron} has no finite value to be replaced by; give a number for every neuron")
    return number
