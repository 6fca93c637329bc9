"""Access to stacked experts.

transformers keeps a layer's experts as parameters [experts, rows, inputs] and computes them in one grouped product.  No
module's output therefore holds an expert's neurons.  Within a `tapped` block the layer runs an equivalent loop over its
experts, which passes each expert's projection to a function.  Outside the block, the layer runs unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

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
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(_NAME, _forward)
    config = module.config  # shared by all layers: the loop without a tap gives the same result as before
    before = config._experts_implementation
    config._experts_implementation_internal = _NAME
    taps = module.__dict__.setdefault("_culnig_taps", [])
    taps.append(tap)
    try:
        yield
    finally:
        taps.remove(tap)
        config._experts_implementation_internal = before


def _forward(
    module: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Map hidden_states [B * T, H], top_k_index and top_k_weights [B * T, experts of a token] -> [B * T, H]."""
    result = torch.zeros_like(hidden_states)
    for expert in top_k_index.unique().tolist():
        if expert >= module.num_experts:  # such a number means "on another rank" under expert parallelism
            continue
        tokens, slot = torch.where(top_k_index == expert)
        output = torch.nn.functional.linear(hidden_states[tokens], module.gate_up_proj[expert])
        for tap in module.__dict__.get("_culnig_taps", ()):
            output = tap(expert, tokens, output)
        state = torch.nn.functional.linear(module._apply_gate(output), module.down_proj[expert])
        result.index_add_(0, tokens, (state * top_k_weights[tokens, slot, None]).to(result.dtype))
    return result
