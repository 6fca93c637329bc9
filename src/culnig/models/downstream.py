"""The computation after the neurons: the activation function, and the projections that read MLP and value neurons.

They are found by their class and shape, in the module that holds the site's own projection, so a family need not name
them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import nn

from culnig.errors import ModelError
from culnig.models.language_model import LanguageModel
from culnig.models.sites import is_linear
from culnig.neurons import GATE, UP, VALUE, Site


def holder(lm: LanguageModel, site: Site) -> nn.Module:
    """Return the module whose direct child is the site's projection; with stacked experts, the experts' own module."""
    if lm.sites[site].stacked is not None:
        return lm.sites[site].module
    layer = lm.layers[site.layer]
    part = lm.family.place_in(site.module, layer)
    assert part is not None
    return layer.get_submodule(part.path.rpartition(".")[0])


def activation_of(lm: LanguageModel, layer: int, gate: str = GATE) -> nn.Module:
    """Return the activation function behind a layer's gate.

    Raises:
        ModelError: the number of activation functions beside the gate's projection is not one.
    """
    parent = holder(lm, Site(gate, layer))
    found = {child for child in parent.children() if type(child) in _activations()}
    if len(found) != 1:
        raise ModelError(
            f"{type(parent).__name__} of layer {layer} holds {len(found) or 'no'} activation functions beside its gate;"
            " culnig looks for exactly one (a module of transformers.activations or torch.nn)"
        )
    return found.pop()


def is_gated(lm: LanguageModel) -> bool:
    """Return whether the MLP multiplies act(gate) by an up projection."""
    return UP in lm.family.sites


def output_projection(lm: LanguageModel, site: Site) -> nn.Module:
    """Return the projection that reads a site's neurons: down for gate and up, o for v.  Not for stacked experts.

    Raises:
        ModelError: the number of projections that fit is not one.
    """
    parent = holder(lm, site)
    own = {found.module for found in lm.sites.values()}
    width = lm.sites[site].width
    if site.module == VALUE:
        heads = lm.text_config.num_attention_heads
        keys = getattr(lm.text_config, "num_key_value_heads", None) or heads
        width = width // keys * heads
    fits = [child for child in parent.children() if child not in own and input_width(child) == width]
    if len(fits) != 1:
        raise ModelError(
            f"{type(parent).__name__} of layer {site.layer} holds {len(fits) or 'no'} projections that read the {width}"
            f" values behind {site.module}; culnig looks for exactly one"
        )
    return fits[0]


def input_width(module: nn.Module) -> int | None:
    """Return the number of inputs of a projection (Linear, a variant of it, or Conv1D); None for any other module."""
    if (width := getattr(module, "in_features", None)) is not None:
        return int(width)
    return int(module.weight.shape[0]) if hasattr(module, "nf") else None  # type: ignore[index]


def outgoing_norms(lm: LanguageModel, site: Site) -> torch.Tensor:
    """Return the norm of the weights that read each neuron of a gate, up or v site, float32 [N].

    A neuron of gate or up is read by its column of the down projection (of its expert's one).  A neuron of v is read by
    its columns of the output projection in all query heads that share its key-value head.

    Raises:
        ModelError: the weights are not plain (quantised, or behind an adapter).
    """
    found = lm.sites[site]
    if found.stacked is not None:
        weight: Any = _whole(found.module.down_proj)
        return weight.float().norm(dim=2 if found.transposed else 1).flatten()
    columns = _columns(output_projection(lm, site), site)
    if site.module != VALUE:
        return columns.norm(dim=0)
    keys = getattr(lm.text_config, "num_key_value_heads", None) or lm.text_config.num_attention_heads
    return columns.view(len(columns), keys, -1, found.width // keys).norm(dim=(0, 2)).flatten()


def output_directions(lm: LanguageModel, site: Site) -> torch.Tensor:
    """Return what each neuron of a gate, up or v site writes into the residual stream, float32 [N, hidden].

    It is the neuron's column of the projection behind it; for v the mean over the query heads that share the neuron.
    A norm between that projection and the stream (Gemma) is not applied.

    Raises:
        ModelError: queries and keys, which write nothing; or weights that are not plain.
    """
    found = lm.sites[site]
    if site.module not in (GATE, UP, VALUE):
        raise ModelError(f"{site.module} writes nothing into the residual stream; it has no output direction")
    if found.stacked is not None:
        weight: Any = found.module.down_proj
        return (weight if found.transposed else weight.transpose(1, 2)).float().flatten(0, 1)
    columns = _columns(output_projection(lm, site), site)
    if site.module != VALUE:
        return columns.t()
    keys = getattr(lm.text_config, "num_key_value_heads", None) or lm.text_config.num_attention_heads
    return columns.view(len(columns), keys, -1, found.width // keys).mean(dim=2).flatten(1).t()


@torch.no_grad()
def logit_lens(lm: LanguageModel, directions: torch.Tensor) -> torch.Tensor:
    """Return the logits that directions of the residual stream add, if nothing but the last norm follows: [n, vocabulary].

    Args:
        lm: the model.
        directions: [n, hidden].
    """
    head: Any = lm.model.get_output_embeddings()
    x = directions.to(device=head.weight.device, dtype=head.weight.dtype)
    parent = lm.model.get_submodule(lm.family.layers.rpartition(".")[0])
    norms = [child for child in parent.children() if type(child).__name__.endswith("Norm")]
    if norms:
        x = norms[-1](x) - norms[-1](torch.zeros_like(x))
    return nn.functional.linear(x, head.weight).float().cpu()


def _columns(module: Any, site: Site) -> torch.Tensor:
    """Return a projection's weight as [outputs, inputs], float32."""
    from transformers.pytorch_utils import Conv1D

    if type(module) is not Conv1D and not is_linear(module):
        raise ModelError(
            f"the weights that read {site.module} are in a {type(module).__name__}, not in a plain projection;"
            " load the model unquantised, with its adapter merged"
        )
    weight = _whole(module.weight.detach()).float()
    return weight.t() if type(module) is Conv1D else weight


def _whole(weight: Any) -> Any:
    """Return a weight; that of a sharded model is put together, which all processes must do at the same time."""
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


@lru_cache(maxsize=1)
def _activations() -> frozenset[type]:
    from torch.nn.modules import activation
    from transformers.activations import ACT2CLS

    classes: set[Any] = {entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()}
    classes |= {getattr(activation, name) for name in activation.__all__} - {nn.MultiheadAttention}
    return frozenset(classes | {nn.Identity})
