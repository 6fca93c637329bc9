"""Gradients replaced by relevance-propagating ones, within a block; what the forward pass computes stays the same.

Norms:        y = w (x - m) r + b with the scale r = 1/std detached: the norm is linear in x.
Activations:  act(x) is x * c with c = act(x)/x detached.
Gated product act(gate) * up: each factor gets half the gradient, so that together they pass on what the product is worth.
Attention keeps its plain gradient: with its pattern detached no query or key neuron would have a score.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from culnig.errors import ModelError
from culnig.models import LanguageModel
from culnig.models.downstream import activation_of, is_gated, output_projection
from culnig.neurons import UP_OF
from culnig.passes.experts import tapped

Probes = dict[Any, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""(norm, shape, dtype, device) -> what `_probe` found; valid while the model's weights stay."""


@contextmanager
def relevance_gradients(lm: LanguageModel, probes: Probes | None = None) -> Iterator[None]:
    """Within the block backward passes follow the rules above.

    Args:
        lm: the model.
        probes: keeps what is found out about its norms, for further blocks.

    Raises:
        ModelError: a layer whose activation function or output projection cannot be made out; in the forward pass, a
            norm that is not of the form above.
    """
    probes = {} if probes is None else probes
    gates = [site for site in lm.sites if site.module in UP_OF]
    with ExitStack() as stack:
        for norm in (module for module in lm.model.modules() if _is_norm(module)):
            stack.callback(norm.register_forward_hook(partial(_linear_norm, probes)).remove)
        for activation in dict.fromkeys(activation_of(lm, site.layer, site.module) for site in gates):
            stack.callback(activation.register_forward_hook(_linear_activation).remove)
        for found in [lm.sites[site] for site in gates] if is_gated(lm) else ():
            if found.stacked is not None:
                # The product is all that reads an expert's projection, so halving behind that is the same.
                stack.enter_context(tapped(found.module, lambda expert, tokens, output: _halved(output)))
            else:
                reader = output_projection(lm, found.site)
                stack.callback(reader.register_forward_pre_hook(_halve_input).remove)
        yield


def _halved(x: torch.Tensor) -> torch.Tensor:
    """x, whose gradient is halved."""
    return 0.5 * x + 0.5 * x.detach()


def _halve_input(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (_halved(args[0]), *args[1:])


def _with_gradient_of(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`value`, to the bit, with the gradient of `like`."""
    return value.detach() + (like - like.detach())


def _linear_activation(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    x = args[0]
    with torch.no_grad():
        tiny = torch.full((1,), 1e-4, dtype=torch.float32, device=x.device)
        at_zero = (module.forward(tiny) / tiny).to(x.dtype)
        factor = torch.where(x == 0, at_zero, output / x)
    return _with_gradient_of(output, x * factor)


def _is_norm(module: nn.Module) -> bool:
    """A leaf that calls itself a norm and works on the last dimension."""
    return type(module).__name__.endswith("Norm") and not list(module.children())


def _linear_norm(probes: Probes, module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    x = args[0]
    with torch.no_grad():
        shape = (1,) * (x.ndim - 1) + x.shape[-1:] if x.ndim < 4 else (1, 1, *x.shape[-2:])
        key = (module, shape, x.dtype, x.device)
        if key not in probes:
            probes[key] = _probe(module, x, shape)
        bias, plain, centred = probes[key]
        y = output.float() - bias
        for weight, is_centred in ((plain, False), (centred, True)):
            direction = weight * _centre(x.float(), is_centred)
            scale = (y * direction).sum(-1, keepdim=True) / direction.square().sum(-1, keepdim=True).clamp_min(1e-30)
            rest = (y - scale * direction).abs().amax()
            if rest <= (1e-4 if x.dtype == torch.float32 else 3e-2) * y.abs().amax():
                break
        else:
            raise ModelError(
                f"{type(module).__name__} is not a norm of the form w (x - m) / std + b, so relp cannot make it linear;"
                " use another method"
            )
        factor = scale * weight
    return _with_gradient_of(output, (_centre(x.float(), is_centred) * factor).to(output.dtype))


def _centre(x: torch.Tensor, yes: bool) -> torch.Tensor:
    return x - x.mean(dim=-1, keepdim=True) if yes else x


def _probe(module: Any, x: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A norm's bias, and its weight up to a factor if it does not, and if it does, subtract the mean.  Each [.., N]."""
    steps = torch.arange(x.shape[-1], device=x.device)
    probe = ((1 - 2 * (steps % 2)) * (1 + steps / x.shape[-1])).to(x.dtype).expand(shape).contiguous()
    bias = module.forward(torch.zeros_like(probe)).float()
    response = module.forward(probe).float() - bias
    centred = probe.float() - probe.float().mean(dim=-1, keepdim=True)
    return bias, response / probe.float(), response / centred
