"""float32 projections by oneDNN instead of MKL, within a block.

On AMD processors MKL's float32 product runs at less than half of oneDNN's speed (bench/RESULTS.md), and PyTorch takes
MKL for it on every x86 machine.  The block redirects `torch.nn.functional.linear` with frozen float32 weights on the CPU;
all else, and every machine without oneDNN, is left as it was.  CULNIG_ONEDNN=0 switches it off.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Linear(torch.autograd.Function):
    """y = x W' + b with a frozen W: forward and input gradient are both one oneDNN product."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight = weight
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # The transposed view is enough: oneDNN reads strides.
        return _product(gradients[0], ctx.weight.t(), None), None, None


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


class _Redirect(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear and not kwargs and _fits(*args):
            x, weight, bias = (*args, None)[:3]
            return _Linear.apply(x, weight, bias) if x.requires_grad else _product(x, weight, bias)
        return func(*args, **(kwargs or {}))


def _fits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    plain = type(weight) in (torch.Tensor, torch.nn.Parameter) and weight.layout is torch.strided
    return frozen and plain and x.dtype is weight.dtype is torch.float32 and x.device.type == "cpu" and x.numel() > 0


def _available() -> bool:
    return (
        os.environ.get("CULNIG_ONEDNN", "1") != "0"
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkl.is_available()  # elsewhere (ARM) PyTorch already takes oneDNN, or has no MKL to replace
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def fast_linear() -> AbstractContextManager[Any]:
    """The block; does nothing where oneDNN is not to be had."""
    return _Redirect() if _available() else nullcontext()
