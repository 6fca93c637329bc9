"""Modules whose weights accelerate keeps elsewhere (`device_map`), and brings in for each forward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn


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
