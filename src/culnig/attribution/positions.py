"""Putting the contributions at a prompt's positions together; padding takes no part."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch

from culnig.attribution.method import Positional

Reduce = Callable[[torch.Tensor, "torch.Tensor | None", torch.Tensor], torch.Tensor]
"""(x [B, T, N], overwritten; real [B, T] or None; last [B]) -> [B, N]."""


def _max(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _filled(x, real, -torch.inf).amax(dim=1)


def _absmax(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _filled(x, real, 0).abs_().amax(dim=1)


def _sum(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _filled(x, real, 0).sum(dim=1, dtype=torch.float32)


def _mean(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return _sum(x, real, last) / (x.shape[1] if real is None else real.sum(dim=1)[:, None])


def _last(x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    return x[torch.arange(len(x), device=x.device), last]


def _filled(x: torch.Tensor, real: torch.Tensor | None, value: float) -> torch.Tensor:
    """x with `value` at padding, which is at the right: columns that are real in every row are left alone."""
    if real is None:
        return x
    first = _whole_columns(real) if real.device.type == "cpu" else 0  # counting would make the host wait for a GPU
    x[:, first:].masked_fill_(~real[:, first:, None], value)
    return x


@lru_cache(maxsize=2)
def _whole_columns(real: torch.Tensor) -> int:
    """Return how many columns are real in every row; once a batch, since all its sites share one tensor."""
    return int(real.all(dim=0).sum())


REDUCE: dict[str, Reduce] = {"max": _max, "sum": _sum, "mean": _mean, "last": _last, "absmax": _absmax}


def mean_of(value: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Mean over real positions, float32 [B, N]; the input is kept."""
    if real is None:
        return value.mean(dim=1, dtype=torch.float32)
    return torch.einsum("btn,bt->bn", value.float(), real.float()) / real.sum(dim=1)[:, None]


def together(method: Positional, x: torch.Tensor, real: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    """Put contributions [B, T, N] (overwritten) at the positions that count together: float32 [B, N].

    Rows are padded on the right, and options follow their prompt, so a prompt's first token is in the first column.
    """
    if method.first == "skip_first":
        x, real, last = x[:, 1:], real[:, 1:] if real is not None else None, last - 1
    return REDUCE[method.positions](x, real, last).float()
