"""Rows that keep their values: masks of weights, masked gradients, and values restored after every update.

A neuron is a row of a projection's weight (a column of a Conv1D's) and an entry of its bias.  Zero gradients alone do
not keep a row: weight decay shrinks it, and an optimizer may move it by momentum.  After each update the rows are
therefore written back from a copy, which is exact under any optimizer.  The gradients are zeroed as well, so that kept
rows do not count in the norm that clipping uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.models.sites import SiteModule, is_linear
from culnig.neurons import NeuronSet


@dataclass(eq=False)
class Kept:
    """Entries of a parameter that keep their values.

    Attributes:
        parameter: the parameter.
        mask: True where a value is kept; broadcasts to the parameter's shape.
        values: the kept values, in order.
    """

    parameter: nn.Parameter
    mask: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, parameter: nn.Parameter, mask: torch.Tensor) -> Kept:
        """Keep the present values of a parameter."""
        mask = mask.to(parameter.device)
        return cls(parameter, mask, parameter.detach().masked_select(mask).clone())

    @property
    def moving(self) -> int:
        """The number of entries that may still change."""
        return self.parameter.numel() - self.values.numel()

    def restore(self) -> None:
        """Write the kept values back, to the bit."""
        with torch.no_grad():
            self.parameter.masked_scatter_(self.mask, self.values)

    def intact(self) -> bool:
        """Return whether the kept values are in place, bit for bit."""
        now = self.parameter.detach().masked_select(self.mask)
        return now.dtype == self.values.dtype and torch.equal(_bits(now), _bits(self.values))

    def mask_gradient(self) -> None:
        """Set the kept entries of every future gradient to zero."""
        self.parameter.register_hook(lambda gradient: gradient.masked_fill(self.mask.to(gradient.device), 0))


def _bits(values: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor; equality of numbers would not distinguish 0 from -0."""
    return values.contiguous().view(torch.uint8)


def row_masks(lm: LanguageModel, neurons: NeuronSet) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Return the parameters that hold a set's rows, each with a mask that is True at them.

    Raises:
        UsageError: a projection's weight is not plain (quantised, or behind an adapter).
    """
    rows: dict[int, tuple[SiteModule, list[torch.Tensor]]] = {}
    for site, indices in neurons.by_site().items():
        found = lm.sites[site]
        rows.setdefault(id(found.module), (found, []))[1].append(found.outputs(indices))
    masks: list[tuple[nn.Parameter, torch.Tensor]] = []
    for found, parts in rows.values():
        masks += _of_module(found, torch.cat(parts))
    return masks


def _of_module(found: SiteModule, rows: torch.Tensor) -> Iterable[tuple[nn.Parameter, torch.Tensor]]:
    module: Any = found.module
    if found.stacked:
        mask = torch.zeros(found.expert_rows.shape[:2], dtype=torch.bool)
        mask[found.in_experts(rows)] = True
        weight, bias = getattr(module, found.stacked), found.expert_bias
        return [
            (weight, mask[:, None] if found.transposed else mask[..., None]),
            *([(bias, mask)] if bias is not None else []),
        ]
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, nn.Parameter) or not weight.is_floating_point() or not _plain(module):
        raise UsageError(
            f"{found.site.module} in layer {found.site.layer} is not a plain projection; its rows cannot be kept"
        )
    column = not isinstance(module, nn.Linear)
    mask = torch.zeros(weight.shape[1 if column else 0], dtype=torch.bool)
    mask[rows] = True
    return [(weight, mask[None] if column else mask[:, None]), *([(bias, mask)] if bias is not None else [])]


def _plain(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return type(module) is Conv1D or is_linear(module)
