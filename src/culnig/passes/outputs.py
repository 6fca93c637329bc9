"""Multiply some outputs of a site by a factor with a hook, within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from culnig.models.sites import SiteModule
from culnig.passes.experts import Tap, tapped


class Scaling:
    """The factor by which a hook multiplies outputs; it is inactive while the model must be untouched."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.active = True

    def lift(self) -> Callable[[], None]:
        """Switch the factor off; return the function that switches it on again."""
        self.active = False

        def restore() -> None:
            self.active = True

        return restore


@contextmanager
def outputs_scaled(found: SiteModule, rows: torch.Tensor, scaling: Scaling) -> Iterator[None]:
    """Multiply these rows of the output of the site's module by a hook, within the block."""
    if found.stacked:
        with tapped(found.module, _expert_multiplier(found, rows, scaling)):
            yield
        return
    handle = found.module.register_forward_hook(_multiplier(rows, scaling))
    try:
        yield
    finally:
        handle.remove()


def _multiplier(rows: torch.Tensor, scaling: Scaling) -> Callable[..., torch.Tensor]:
    def multiply(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return _multiplied(output, rows, scaling.factor) if scaling.active else output

    return multiply


def _expert_multiplier(found: SiteModule, rows: torch.Tensor, scaling: Scaling) -> Tap:
    size = found.rows_per_expert
    by_expert = {int(e): rows[rows // size == e] % size for e in (rows // size).unique()}

    def multiply(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        if expert not in by_expert or not scaling.active:
            return output
        return _multiplied(output, by_expert[expert], scaling.factor)

    return multiply


def _multiplied(output: torch.Tensor, rows: torch.Tensor, factor: float) -> torch.Tensor:
    """Return output [..., N] with the given entries of its last dimension multiplied."""
    at = rows.to(output.device)
    return output.index_copy(-1, at, output.index_select(-1, at) * factor)
