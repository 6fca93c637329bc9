"""Catching value and gradient at every site, and reducing them while the backward pass goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from culnig.models import LanguageModel
from culnig.models._language_model import SiteModule
from culnig.neurons import Site

Sink = Callable[[Site, torch.Tensor, torch.Tensor], None]
"""(site, value [B, T, N], gradient [B, T, N]) -> None, called once a site in each backward pass."""


@contextmanager
def sites_reporting_to(lm: LanguageModel, sink: Sink) -> Iterator[None]:
    """Within the block every backward pass hands each site's value and gradient to `sink`.

    The value lives in the graph until the site's turn and is dropped with it: nothing of size [B, T, N] is kept.
    """
    by_module: dict[torch.nn.Module, list[SiteModule]] = {}
    for found in lm.sites.values():
        by_module.setdefault(found.module, []).append(found)
    handles = [module.register_forward_hook(_watch(parts, sink)) for module, parts in by_module.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(parts: list[SiteModule], sink: Sink) -> Callable[..., None]:
    def on_forward(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        if not output.requires_grad:
            return
        value = output.detach()

        def on_gradient(gradient: torch.Tensor) -> None:
            for part in parts:
                sink(part.site, value[..., part.start : part.stop], gradient[..., part.start : part.stop])

        output.register_hook(on_gradient)

    return on_forward
