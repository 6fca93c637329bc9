"""Multiply neurons by a small factor instead of 0, so that gradients still say what bringing each of them back would do.

With a neuron's value times f, the gradient's contribution is f times that of the value itself (`Terms.undamped`).  An MLP
neuron is looked at behind its activation function, so it is damped there too: in the columns of the projection that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from culnig.errors import ModelError
from culnig.intervention import scale
from culnig.models import LanguageModel
from culnig.models.downstream import output_projection
from culnig.neurons import GATE, UP, Neuron, NeuronSet, Site
from culnig.passes.outputs import Change

FACTOR = 1 / 256
"""A power of two, so that scaled weights lose nothing."""


@contextmanager
def damped(lm: LanguageModel, neurons: Sequence[Neuron]) -> Iterator[None]:
    """Multiply neurons by `FACTOR` within the block, MLP neurons behind their activation function.

    Raises:
        ModelError: the weights that read an MLP neuron cannot be edited (stacked experts, quantised, with an adapter).
    """
    mlp = [neuron for neuron in neurons if neuron.module in (GATE, UP)]
    others = [neuron for neuron in neurons if neuron.module not in (GATE, UP)]
    with ExitStack() as stack:
        if others:
            stack.enter_context(scale(lm, NeuronSet(others), FACTOR))
        by_layer: dict[int, set[int]] = {}
        for neuron in mlp:
            by_layer.setdefault(neuron.layer, set()).add(neuron.index)
        for layer, indices in sorted(by_layer.items()):
            stack.enter_context(_columns_scaled(lm, layer, sorted(indices)))
        yield


@contextmanager
def _columns_scaled(lm: LanguageModel, layer: int, indices: list[int]) -> Iterator[None]:
    """Scale the weights that read these neurons of a layer's MLP within the block."""
    module, dim = _reading_module(lm, layer)
    if lm.is_sharded:  # no process has the whole weight
        with _inputs_scaled(lm, module, indices):
            yield
        return
    weight = module.weight
    columns = torch.tensor(indices, device=weight.device)
    saved = weight.detach().index_select(dim, columns)

    def write(values: torch.Tensor) -> None:
        with torch.no_grad():
            weight.index_copy_(dim, columns, values)

    def lift() -> Callable[[], None]:
        write(saved)
        return lambda: write(saved * FACTOR)

    try:
        write(saved * FACTOR)
        with lm.editing(lift):
            yield
    finally:
        write(saved)


@contextmanager
def _inputs_scaled(lm: LanguageModel, module: Any, indices: list[int]) -> Iterator[None]:
    """Scale these inputs of a projection within the block: as scaled columns of its weight, to the bit."""
    change = Change(FACTOR)

    def scale_inputs(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if not change.active:
            return None
        columns = torch.tensor(indices, device=args[0].device)
        return (args[0].index_copy(-1, columns, change.of(args[0].index_select(-1, columns))), *args[1:])

    handle = module.register_forward_pre_hook(scale_inputs)
    try:
        with lm.editing(change.lift):
            yield
    finally:
        handle.remove()


def _reading_module(lm: LanguageModel, layer: int) -> tuple[Any, int]:
    """Return the projection that reads a layer's MLP neurons, and the dimension of its weight that counts them."""
    from transformers.pytorch_utils import Conv1D

    site = Site(GATE, layer)
    module: Any = None if lm.sites[site].stacked is not None else output_projection(lm, site)
    if type(module) not in (torch.nn.Linear, Conv1D) or module.weight.is_meta:
        kind = "stacked experts" if module is None else type(module).__name__
        raise ModelError(f"the method mask cannot edit the weights behind {site} ({kind}); choose greedy")
    return module, 1 if type(module) is torch.nn.Linear else 0
