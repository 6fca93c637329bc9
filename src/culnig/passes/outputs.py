"""Change some outputs of a site with a hook, within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from culnig.models.sites import SiteModule
from culnig.passes.experts import tapped


class Change:
    """What an edit does to some outputs; its hook is inactive while the model must be untouched.

    Attributes:
        factor: the outputs are multiplied by it; 0 where `values` take their place.
        values: [outputs], the numbers that take the outputs' place at every position; None for a product.
        active: whether hooks apply it.
    """

    def __init__(self, factor: float, values: torch.Tensor | None = None) -> None:
        self.factor = factor if values is None else 0.0
        self.values = values
        self.active = True

    def of(self, outputs: torch.Tensor, part: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return outputs [..., n] changed; they are those of `part`, all by default."""
        if self.values is None:
            return outputs * self.factor
        return self.values[part].to(outputs).expand_as(outputs)

    def lift(self) -> Callable[[], None]:
        """Switch the change off; return the function that makes it as it was."""
        before, self.active = self.active, False

        def restore() -> None:
            self.active = before

        return restore


@contextmanager
def outputs_changed(found: SiteModule, rows: torch.Tensor, change: Change) -> Iterator[None]:
    """Change these rows of the output of the site's module by a hook, within the block."""
    if found.stacked:
        with tapped(found.module, _ExpertHook(rows, found.rows_per_expert, change)):
            yield
        return
    handle = found.module.register_forward_hook(_Hook(rows, change))
    try:
        yield
    finally:
        handle.remove()


def is_hooked(found: SiteModule) -> bool:
    """Return whether a hook changes outputs of the site's module at present."""
    taps = found.module.__dict__.get("_culnig_taps", ())
    return any(isinstance(hook, _Hook | _ExpertHook) for hook in (*found.module._forward_hooks.values(), *taps))


class _Hook:
    """A forward hook that changes some outputs."""

    def __init__(self, rows: torch.Tensor, change: Change) -> None:
        self.rows = rows
        self.change = change

    def __call__(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return _changed(output, self.rows, self.change) if self.change.active else output


class _ExpertHook:
    """The same for stacked experts, as a tap; rows count through the experts' outputs joined end to end."""

    def __init__(self, rows: torch.Tensor, size: int, change: Change) -> None:
        self.rows = rows % size
        self.parts = {int(e): torch.nonzero(rows // size == e).flatten() for e in (rows // size).unique()}
        self.change = change

    def __call__(self, expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        part = self.parts.get(expert)
        if part is None or not self.change.active:
            return output
        return _changed(output, self.rows[part], self.change, part)


def _changed(
    output: torch.Tensor, rows: torch.Tensor, change: Change, part: torch.Tensor | slice = slice(None)
) -> torch.Tensor:
    """Return output [..., N] with the given entries of its last dimension changed."""
    at = rows.to(output.device)
    return output.index_copy(-1, at, change.of(output.index_select(-1, at), part))
