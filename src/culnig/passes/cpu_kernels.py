"""Compute float32 projections with oneDNN instead of MKL, within a block.

On AMD processors MKL's float32 product runs at less than half of oneDNN's speed (docs/results.md), and PyTorch uses MKL
for it on every x86 machine.  The block redirects `torch.nn.functional.linear` with float32 weights on the CPU.  It
changes nothing else, and nothing on machines without oneDNN.  CULNIG_ONEDNN=0 switches it off.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Linear(torch.autograd.Function):
    """y = x W' + b; the forward pass and the input gradient are one oneDNN product each."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # A frozen weight needs no x in the backward pass, and x takes most of the memory of scoring.
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        # The output must not be a view: a model may change it in place (OLMo, Gemma 3n), and hooks on a view would lose
        # their gradient by that.  A product of matrices is none, and takes its shape in place.
        return _product(x.flatten(0, -2), weight, bias).resize_(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        at_output, (for_x, for_weight, for_bias) = gradients[0], ctx.needs_input_grad
        rows = at_output.flatten(0, -2)
        return (
            # A transposed view is enough, because oneDNN reads strides.
            _product(at_output, weight.t(), None) if for_x else None,
            # MKL's product is faster here, because oneDNN would reorder both factors.
            rows.t() @ x.flatten(0, -2) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


class _Redirect(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear and not kwargs and _fits(*args):
            x, weight, bias = (*args, None)[:3]
            tracked = any(t is not None and t.requires_grad for t in (x, weight, bias))
            if not (tracked and torch.is_grad_enabled()):
                return _product(x, weight, bias)
            return _Linear.apply(x, weight, bias)
        return func(*args, **(kwargs or {}))


def _fits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    plain = type(weight) in (torch.Tensor, torch.nn.Parameter) and weight.layout is torch.strided
    return plain and x.dtype is weight.dtype is torch.float32 and x.device.type == "cpu" and x.numel() > 0


def _available() -> bool:
    return (
        os.environ.get("CULNIG_ONEDNN", "1") != "0"
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkl.is_available()  # without MKL (ARM) there is nothing to replace
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def fast_linear(device: torch.device) -> AbstractContextManager[Any]:
    """Return the block for a model that computes on `device`; it does nothing on a GPU or without oneDNN."""
    return _Redirect() if device.type == "cpu" and _available() else nullcontext()
