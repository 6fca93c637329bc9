"""A site in a loaded model: its module, and where its neurons are in the module's output and weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from culnig.errors import ModelError
from culnig.models.families import SiteLocation
from culnig.neurons import Site


@dataclass(frozen=True, eq=False)
class SiteModule:
    """The module that computes a site, and the site's rows of its output.

    Attributes:
        site: which site.
        module: the projection, or the module that holds a layer's stacked experts.
        rows: the site's part of the output's last dimension: a slice (a view, free), or an index tensor where a fused
            projection interleaves its sites. With experts: of one expert's output.
        experts: how many experts the site's neurons are spread over; 1 for a plain projection.
        stacked: the experts' parameter [experts, rows, inputs]; None for a plain projection.
    """

    site: Site
    module: nn.Module
    rows: slice | torch.Tensor
    experts: int = 1
    stacked: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the site's values live."""
        return execution_device(self.module)

    @property
    def expert_width(self) -> int:
        """Neurons of one expert (all of them for a plain projection)."""
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)

    @property
    def width(self) -> int:
        """Neurons of the site."""
        return self.experts * self.expert_width

    def take(self, output: torch.Tensor) -> torch.Tensor:
        """The site's values [..., N] of the module's output (with experts: of one expert's, [..., N / experts])."""
        if isinstance(self.rows, slice):
            return output[..., self.rows]
        return output.index_select(-1, self.rows.to(output.device))

    def outputs(self, neurons: Sequence[int]) -> torch.Tensor:
        """Where neurons are in the module's output; with experts, in their outputs laid end to end."""
        index = torch.tensor(neurons, dtype=torch.long)
        local = index % self.expert_width
        rows = local + self.rows.start if isinstance(self.rows, slice) else self.rows.cpu()[local]
        return rows + index // self.expert_width * self.rows_per_expert if self.stacked else rows

    @property
    def rows_per_expert(self) -> int:
        """Outputs of one expert's projection, the other sites fused into it included."""
        assert self.stacked is not None
        return getattr(self.module, self.stacked).shape[1]


def locate(site: Site, part: SiteLocation, module: nn.Module, config: Any) -> SiteModule:
    """The site's module with its rows made out.

    Raises:
        ModelError: a module whose outputs cannot be counted, rows beyond them, or experts of an unsupported kind.
    """
    experts, outputs = (1, output_width(module)) if part.stacked is None else _experts(module, part.stacked)
    found = part.rows(config) if part.rows else (0, outputs)
    rows = slice(*found) if isinstance(found, tuple) else torch.tensor(found, dtype=torch.long)
    last = rows.stop - 1 if isinstance(rows, slice) else int(rows.max())
    if last >= outputs:
        raise ModelError(f"{part.path} has {outputs} outputs, but {site.module} is declared to reach {last + 1}")
    if isinstance(rows, torch.Tensor):
        rows = rows.to(execution_device(module))
    return SiteModule(site, module, rows, experts, part.stacked)


def output_width(module: nn.Module) -> int:
    """Number of outputs of a projection: Linear, Conv1D or a quantised variant."""
    for attribute in ("out_features", "nf"):
        if (width := getattr(module, attribute, None)) is not None:
            return int(width)
    raise ModelError(f"{type(module).__name__} is not a projection whose outputs culnig can count")


def _experts(module: Any, stacked: str) -> tuple[int, int]:
    """(experts, outputs of each) of a stacked parameter."""
    weight = getattr(module, stacked, None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 3:
        raise ModelError(f"{type(module).__name__} has no stacked parameter '{stacked}' [experts, rows, inputs]")
    plain = getattr(module, "has_gate", False) and not (module.has_bias or module.is_transposed)
    if not plain or getattr(module, "has_post_expert_norm", False):
        raise ModelError(f"{type(module).__name__}: experts with biases, other layouts or norms are not supported")
    return weight.shape[0], weight.shape[1]


def execution_device(module: nn.Module) -> torch.device:
    """Where a module computes; an offloaded one's weights are on the meta device between passes."""
    device = next(module.parameters()).device
    hook: Any = getattr(module, "_hf_hook", None)
    if device.type != "meta" or hook is None or getattr(hook, "execution_device", None) is None:
        return device
    return torch.device(hook.execution_device)


def weights_at_hand(module: nn.Module) -> AbstractContextManager[None]:
    """Within the block the module's own weights can be read, offloaded or not."""
    from accelerate.utils import align_module_device

    return align_module_device(module)
