"""Catching value and gradient at every site, and reducing them while the pass goes by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch

from culnig.models import LanguageModel
from culnig.models._experts import Tap, tapped
from culnig.models._sites import SiteModule
from culnig.neurons import Site

Shape = Callable[[], torch.Size]
"""Gives [B, T] of the batch that is running."""


class Sink(Protocol):
    """Takes a site's value, and in a backward pass its gradient."""

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        """Called once a site, or once for each expert of it that the batch reached.

        Args:
            site: which site.
            value, gradient: [B, T, N]; of an expert's neurons 0 where the token went elsewhere.
            first: the index of the first of these N neurons in the site.
        """
        ...


@contextmanager
def sites_reporting_to(
    lm: LanguageModel,
    sink: Sink | None,
    *,
    values_to: Sink | None = None,
    only: Collection[Site] | None = None,
) -> Iterator[None]:
    """Within the block every backward pass hands each site's value and gradient to `sink`, every forward pass its value
    to `values_to`.

    The value lives in the graph until the site's turn and is dropped with it: nothing of size [B, T, N] is kept.

    Args:
        lm: the model.
        sink, values_to: what takes them; None for nothing.
        only: these sites; None is all.
    """
    by_module: dict[torch.nn.Module, list[SiteModule]] = {}
    for site, found in lm.sites.items():
        if only is None or site in only:
            by_module.setdefault(found.module, []).append(found)
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[0]))
        for module, parts in by_module.items():
            if parts[0].stacked is None:
                handle = module.register_forward_hook(_watch(parts, sink, values_to, shape))
                stack.callback(handle.remove)
            else:
                stack.enter_context(tapped(module, _watch_experts(parts, sink, values_to, shape)))
        yield


def _watch(parts: list[SiteModule], sink: Sink | None, values_to: Sink | None, shape: Shape) -> Callable[..., None]:
    def on_forward(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        value = output.detach()
        if value.ndim == 2:  # a layer that flattens its input (OPT)
            value = value.unflatten(0, shape())
        if values_to is not None:
            for part in parts:
                values_to(part.site, part.take(value), None)
        if sink is None or not output.requires_grad:
            return

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                sink(part.site, part.take(value), part.take(gradient.reshape(value.shape)))

        output.register_hook(on_gradient)

    return on_forward


def _watch_experts(parts: list[SiteModule], sink: Sink | None, values_to: Sink | None, shape: Shape) -> Tap:
    """One expert at a time: [B, T, neurons of the expert], 0 where a token was not routed to it.

    A value that is not computed takes nothing from P when it is zeroed, so such a position scores 0.
    """

    def tap(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        value, size = output.detach(), shape()
        if values_to is not None:
            for part in parts:
                values_to(part.site, spread(part.take(value), tokens, size), None, expert * part.expert_width)
        if sink is None or not output.requires_grad:
            return output

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                v, g = (spread(part.take(whole), tokens, size) for whole in (value, gradient))
                sink(part.site, v, g, expert * part.expert_width)

        output.register_hook(on_gradient)
        return output

    return tap


def spread(values: torch.Tensor, tokens: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """An expert's [n, N] at the positions that were routed to it -> [B, T, N], 0 elsewhere."""
    everywhere = values.new_zeros(shape.numel(), values.shape[-1])
    return everywhere.index_copy_(0, tokens, values).view(*shape, -1)


@contextmanager
def shape_of_inputs(layer: torch.nn.Module) -> Iterator[Shape]:
    """A function that gives [B, T] of the layer's latest input; experts, and some MLPs, see it flattened."""
    latest: list[torch.Size] = []

    def note(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        latest[:] = [hidden.shape[:2]]

    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield lambda: latest[0]
    finally:
        handle.remove()
