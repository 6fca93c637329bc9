"""A site in a loaded model: its module, and the place of its neurons in the module's output and weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from culnig.errors import ModelError
from culnig.models.layouts import SiteLocation
from culnig.neurons import Site


@dataclass(frozen=True, eq=False)
class SiteModule:
    """The module that computes a site, and the site's rows of its output.

    Attributes:
        site: which site.
        module: the projection, or the module that holds a layer's stacked experts.
        rows: the site's part of the output's last dimension: a slice (a view, without cost), or an index tensor if
            a fused projection interleaves its sites.  With experts: the part of one expert's output.
        experts: number of experts that hold the site's neurons; 1 for a plain projection.
        stacked: name of the experts' parameter [experts, rows, inputs]; None for a plain projection.
        transposed: whether that parameter is [experts, inputs, rows].
    """

    site: Site
    module: nn.Module
    rows: slice | torch.Tensor
    experts: int = 1
    stacked: str | None = None
    transposed: bool = False

    @property
    def device(self) -> torch.device:
        """The device of the site's values."""
        return execution_device(self.module)

    @property
    def expert_width(self) -> int:
        """The number of neurons of one expert (all of them for a plain projection)."""
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)

    @property
    def width(self) -> int:
        """The number of neurons of the site."""
        return self.experts * self.expert_width

    def take(self, output: torch.Tensor) -> torch.Tensor:
        """Return the site's values [..., N] from the module's output (with experts: [..., N / experts] from one's)."""
        if isinstance(self.rows, slice):
            return output[..., self.rows]
        return output.index_select(-1, self.rows.to(output.device))

    def outputs(self, neurons: Sequence[int]) -> torch.Tensor:
        """Return the outputs of the module that hold neurons; with experts, in their outputs joined end to end."""
        index = torch.tensor(neurons, dtype=torch.long)
        local = index % self.expert_width
        rows = local + self.rows.start if isinstance(self.rows, slice) else self.rows.cpu()[local]
        return rows + index // self.expert_width * self.rows_per_expert if self.stacked else rows

    @property
    def rows_per_expert(self) -> int:
        """The number of outputs of one expert's projection, the other sites fused into it included."""
        return self.expert_rows.shape[1]

    @property
    def expert_rows(self) -> torch.Tensor:
        """The experts' parameter as a view [experts, rows, inputs]."""
        assert self.stacked is not None
        weight = getattr(self.module, self.stacked)
        return weight.transpose(1, 2) if self.transposed else weight

    @property
    def expert_bias(self) -> torch.nn.Parameter | None:
        """The experts' bias [experts, rows]; None if they have none."""
        return getattr(self.module, f"{self.stacked}_bias", None) if self.stacked else None

    def in_experts(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (expert, row of its projection) of each of some `outputs`."""
        return outputs // self.rows_per_expert, outputs % self.rows_per_expert


def locate(site: Site, part: SiteLocation, module: nn.Module, config: Any) -> SiteModule:
    """Return the site's module with its rows.

    Raises:
        ModelError: the module's outputs cannot be counted, rows exceed them, or the kind of experts is unsupported.
    """
    transposed = part.stacked is not None and is_transposed(module)
    experts, outputs = (1, output_width(module)) if part.stacked is None else _experts(module, part.stacked)
    found = part.rows(config) if part.rows else (0, outputs)
    rows = slice(*found) if isinstance(found, tuple) else torch.tensor(found, dtype=torch.long)
    last = rows.stop - 1 if isinstance(rows, slice) else int(rows.max())
    if last >= outputs:
        raise ModelError(f"{part.path} has {outputs} outputs, but {site.module} is declared to reach {last + 1}")
    if isinstance(rows, torch.Tensor):
        rows = rows.to(execution_device(module))
    return SiteModule(site, module, rows, experts, part.stacked, transposed)


def output_width(module: nn.Module) -> int:
    """Return the number of outputs of a projection: Linear, Conv1D or a quantised variant."""
    for attribute in ("out_features", "nf"):
        if (width := getattr(module, attribute, None)) is not None:
            return int(width)
    raise ModelError(f"{type(module).__name__} is not a projection whose outputs culnig can count")


def _experts(module: Any, stacked: str) -> tuple[int, int]:
    """Return (experts, outputs of each) of a stacked parameter."""
    weight = getattr(module, stacked, None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 3:
        raise ModelError(f"{type(module).__name__} has no stacked parameter '{stacked}' [experts, rows, inputs]")
    known = hasattr(module, "has_gate") and not module.has_post_expert_norm and stacked == first_projection(module)
    if not known and not runs_every_expert(module):
        raise ModelError(f"{type(module).__name__}: experts with norms or in other forms are not supported")
    return weight.shape[0], weight.shape[2 if is_transposed(module) else 1]


def first_projection(module: Any) -> str:
    """Return the name of the stacked parameter that the experts' inputs go through first."""
    return "gate_up_proj" if getattr(module, "has_gate", True) else "up_proj"


def is_linear(module: nn.Module) -> bool:
    """Return whether a projection is a weight, perhaps with a bias, and nothing else; Falcon has a class of its own for it."""
    return type(module) is nn.Linear or type(module).__name__ == "FalconLinear"


def is_transposed(module: Any) -> bool:
    """Return whether stacked experts are kept as [experts, inputs, rows]."""
    return bool(getattr(module, "is_transposed", False)) or runs_every_expert(module)


def runs_every_expert(module: Any) -> bool:
    """Return whether stacked experts are of Llama 4's form: each runs on every token, scaled by its weight (0 if not chosen)."""
    return type(module).__name__ == "Llama4TextExperts"


ROUTED = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts")
"""Names that configs have for the number of experts that a token is routed to."""


def experts_met(module: Any, config: Any) -> int | None:
    """Return how many experts of a module a token passes through; None if the module does not hold stacked experts."""
    stacked = [parameter for parameter in module.parameters(recurse=False) if parameter.ndim == 3]
    if not stacked or "Experts" not in type(module).__name__:
        return None
    if runs_every_expert(module):
        return len(stacked[0])
    found = next((value for name in ROUTED if (value := getattr(config, name, None))), 1)
    return max(found) if isinstance(found, list | tuple) else int(found)


def execution_device(module: nn.Module) -> torch.device:
    """Return the device on which a module computes; between passes, offloaded weights are on the meta device."""
    device = next(module.parameters()).device
    hook: Any = getattr(module, "_hf_hook", None)
    if device.type != "meta" or hook is None or getattr(hook, "execution_device", None) is None:
        return device
    return torch.device(hook.execution_device)


def weights_at_hand(module: nn.Module) -> AbstractContextManager[None]:
    """Make the module's own weights readable within the block, whether they are offloaded or not."""
    from accelerate.utils import align_module_device

    return align_module_device(module)
