"""Putting positions together: [B, T, N] -> [B, N].  Padding takes no part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

Positions = Literal["max", "sum", "mean", "last", "absmax"]
Reduce = Callable[[torch.Tensor, "torch.Tensor | None", torch.Tensor], torch.Tensor]
"""(x [B, T, N], overwritten; real [B, T] or None; last [B]) -> [B, N]."""


def _max(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    if real is not None:
        x.masked_fill_(~real[..., None], -torch.inf)
    return x.amax(dim=1)


def _absmax(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _zeroed(x, real).abs_().amax(dim=1)


def _sum(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _zeroed(x, real).sum(dim=1, dtype=torch.float32)


def _mean(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _sum(x, real, last) / (x.shape[1] if real is None else real.sum(dim=1)[:, None])


def _last(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return x[torch.arange(len(x), device=x.device), last]


def _zeroed(x: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    return x if real is None else x.masked_fill_(~real[..., None], 0)


REDUCE: dict[str, Reduce] = {"max": _max, "sum": _sum, "mean": _mean, "last": _last, "absmax": _absmax}


def mean_of(value: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Mean over real positions, float32 [B, N]; the input is kept."""
    if real is None:
        return value.mean(dim=1, dtype=torch.float32)
    return torch.einsum("btn,bt->bn", value.float(), real.float()) / real.sum(dim=1)[:, None]
