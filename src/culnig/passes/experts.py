"""Access to stacked experts.

transformers keeps a layer's experts as parameters [experts, rows, inputs] and computes them in one grouped product.  No
module's output therefore holds an expert's neurons.  Within a `tapped` block the layer runs an equivalent loop over its
experts, which passes each expert's projection to a function.  Outside the block, the layer runs unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from culnig.models.sites import first_projection, is_transposed, runs_every_expert

Tap = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""(expert, tokens [n], output [n, rows]) -> the output that replaces it.

`tokens` are the positions routed to the expert, in the batch flattened to [B * T].
"""

_NAME = "culnig"


@contextmanager
def tapped(module: Any, tap: Tap) -> Iterator[None]:
    """Let `tap` see, and replace if it wants, the first projection of every expert of `module` within the block.

    Blocks may be nested, also on one module; taps are called in the order in which they were added.
    """
    taps = module.__dict__.setdefault("_culnig_taps", [])
    with _every_expert_looped(module) if runs_every_expert(module) else _looped(module):
        taps.append(tap)
        try:
            yield
        finally:
            taps.remove(tap)


@contextmanager
def _looped(module: Any) -> Iterator[None]:
    """Make the layer loop over its experts within the block."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(_NAME, _forward)
    config = module.config  # shared by all layers: the loop without a tap gives the same result as before
    before = config._experts_implementation
    config._experts_implementation_internal = _NAME
    try:
        yield
    finally:
        config._experts_implementation_internal = before


@contextmanager
def _every_expert_looped(module: Any) -> Iterator[None]:
    """Do the same to experts of Llama 4's form."""
    before = module.__dict__.get("forward")
    module.forward = partial(_forward_of_every_expert, module)
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _forward(
    module: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Map hidden_states [B * T, H], top_k_index and top_k_weights [B * T, experts of a token] -> [B * T, H]."""
    result = torch.zeros_like(hidden_states)
    for expert in top_k_index.unique().tolist():
        if expert >= module.num_experts:  # such a number means "on another rank" under expert parallelism
            continue
        tokens, slot = torch.where(top_k_index == expert)
        output = _projected(module, first_projection(module), expert, hidden_states[tokens])
        for tap in module.__dict__.get("_culnig_taps", ()):
            output = tap(expert, tokens, output)
        state = _projected(module, "down_proj", expert, gated(module, output))
        result.index_add_(0, tokens, (state * top_k_weights[tokens, slot, None]).to(result.dtype))
    return result


def gated(module: Any, output: torch.Tensor) -> torch.Tensor:
    """Return what an expert's second projection reads, from the output [.., rows] of its first."""
    if not getattr(module, "has_gate", True):
        return module.act_fn(output)
    if not runs_every_expert(module):
        return module._apply_gate(output)
    gate, up = output.chunk(2, dim=-1)
    return up * module.act_fn(gate)


def _projected(module: Any, name: str, expert: int, states: torch.Tensor) -> torch.Tensor:
    """Return one expert's projection of some states [n, inputs]."""
    weight = getattr(module, name)[expert]
    bias = getattr(module, f"{name}_bias")[expert] if getattr(module, "has_bias", False) else None
    return torch.nn.functional.linear(states, weight.t() if is_transposed(module) else weight, bias)


def _forward_of_every_expert(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """Map [experts * B * T, H], each token's state for each expert, scaled by its weight, to the experts' outputs.

    A token that did not choose an expert comes as zeros, and is not shown to the taps: it stays 0 whatever they do.
    """
    result = torch.zeros_like(hidden_states)
    parts = hidden_states.view(module.gate_up_proj.shape[0], -1, hidden_states.shape[-1])
    for expert, states in enumerate(parts):
        tokens = torch.where(states.detach().any(dim=-1))[0]
        if not len(tokens):
            continue
        output = _projected(module, "gate_up_proj", expert, states[tokens])
        for tap in module.__dict__.get("_culnig_taps", ()):
            output = tap(expert, tokens, output)
        state = _projected(module, "down_proj", expert, gated(module, output))
        result = result.index_add(0, tokens + expert * parts.shape[1], state)
    return result
