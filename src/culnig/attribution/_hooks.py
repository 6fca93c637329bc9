"""Catching value and gradient at every site, and reducing them while the backward pass goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch

from culnig.models import LanguageModel
from culnig.models._experts import Tap, tapped
from culnig.models._sites import SiteModule
from culnig.neurons import Site


class Sink(Protocol):
    """Takes a site's value and gradient in each backward pass."""

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor, first: int = 0) -> None:
        """Called once a site, or once for each expert of it that the batch reached.

        Args:
            site: which site.
            value, gradient: [B, T, N]; of an expert's neurons 0 where the token went elsewhere.
            first: the index of the first of these N neurons in the site.
        """
        ...


@contextmanager
def sites_reporting_to(lm: LanguageModel, sink: Sink) -> Iterator[None]:
    """Within the block every backward pass hands each site's value and gradient to `sink`.

    The value lives in the graph until the site's turn and is dropped with it: nothing of size [B, T, N] is kept.
    """
    by_module: dict[torch.nn.Module, list[SiteModule]] = {}
    for found in lm.sites.values():
        by_module.setdefault(found.module, []).append(found)
    with ExitStack() as stack:
        shape = stack.enter_context(_shape_of_inputs(lm.layers[0]))
        for module, parts in by_module.items():
            if parts[0].stacked is None:
                handle = module.register_forward_hook(_watch(parts, sink, shape))
                stack.callback(handle.remove)
            else:
                stack.enter_context(tapped(module, _watch_experts(parts, sink, shape)))
        yield


def _watch(parts: list[SiteModule], sink: Sink, shape: Callable[[], torch.Size]) -> Callable[..., None]:
    def on_forward(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        if not output.requires_grad:
            return
        value = output.detach()
        if value.ndim == 2:  # a layer that flattens its input (OPT)
            value = value.unflatten(0, shape())

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                sink(part.site, part.take(value), part.take(gradient.reshape(value.shape)))

        output.register_hook(on_gradient)

    return on_forward


def _watch_experts(parts: list[SiteModule], sink: Sink, shape: Callable[[], torch.Size]) -> Tap:
    """One expert at a time: [B, T, neurons of the expert], 0 where a token was not routed to it.

    A value that is not computed takes nothing from P when it is zeroed, so such a position scores 0.
    """

    def tap(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            return output
        value, (rows, columns) = output.detach(), shape()

        def everywhere(part: torch.Tensor) -> torch.Tensor:
            spread = part.new_zeros(rows * columns, part.shape[-1])
            return spread.index_copy_(0, tokens, part).view(rows, columns, -1)

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                first = expert * part.expert_width
                sink(part.site, everywhere(part.take(value)), everywhere(part.take(gradient)), first)

        output.register_hook(on_gradient)
        return output

    return tap


@contextmanager
def _shape_of_inputs(layer: torch.nn.Module) -> Iterator[Callable[[], torch.Size]]:
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
