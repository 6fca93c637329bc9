"""Log-probabilities of tokens from logits, over the whole vocabulary, without an array of the size of the logits beside them.

On a CPU a few rows at a time stay in the caches, in the forward pass and in the backward pass.  Values and gradients are
those of `logits[at, token] - logsumexp(logits)[at]` in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

ROWS = 16
"""Rows of logits at a time on a CPU: 3 MB with 50,000 tokens in the vocabulary."""


def token_logprobs_at(logits: torch.Tensor, at: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Return log P of some tokens, float32 [n], differentiable once in `logits`.

    Args:
        logits: [Q, V].
        at: [n], the row of each token; a row may come several times, or not at all.
        token: [n], token ids.
    """
    return _TokenLogprobs.apply(logits, at, token)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, at: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        norms = torch.cat([torch.logsumexp(logits[rows].float(), dim=-1) for rows in _parts(logits)])
        ctx.save_for_backward(logits, norms, at, token)
        return logits[at, token].float() - norms[at]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, norms, at, token = ctx.saved_tensors
        (gradient,) = gradients
        weight = torch.zeros_like(norms).index_add_(0, at, gradient)
        found = torch.empty_like(logits)
        for rows in _parts(logits):
            # d log P(t) / d logits = (1 at t, else 0) - softmax
            part = (logits[rows].float() - norms[rows, None]).exp_().mul_(-weight[rows, None])
            inside = slice(None) if len(part) == len(logits) else (at >= rows.start) & (at < rows.stop)
            part.index_put_((at[inside] - rows.start, token[inside]), gradient[inside], accumulate=True)
            found[rows] = part
        return found, None, None


def _parts(logits: torch.Tensor) -> Iterator[slice]:
    """Yield the rows that are looked at together: all of them on a GPU, where a loop would wait for the host."""
    size = ROWS if logits.device.type == "cpu" else len(logits)
    for start in range(0, len(logits), max(1, size)):
        yield slice(start, min(start + size, len(logits)))
