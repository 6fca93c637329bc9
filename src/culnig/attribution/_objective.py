"""The scalars that are differentiated, or measured: log P(gold answer) and the logit difference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from culnig.models._batch import Batch


def gold_logprob(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int], over_vocabulary: bool) -> torch.Tensor:
    """log P(gold answer) of each row, [B]: over the vocabulary (mcf) or renormalised over the row's answers (cf)."""
    picked = _gold(logprobs, batch, gold)
    if over_vocabulary:
        return picked
    norms = [torch.logsumexp(logprobs[a:b], dim=0) for a, b in itertools.pairwise(batch.first_answer)]
    return picked - torch.stack(norms)


def logit_difference(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int]) -> torch.Tensor:
    """Gold minus the best wrong answer of each row, [B], in (summed) log-probabilities: for letters, that of logits."""
    best = []
    for (a, b), g in zip(itertools.pairwise(batch.first_answer), gold, strict=True):
        best.append(torch.cat([logprobs[a : a + g], logprobs[a + g + 1 : b]]).max())
    return _gold(logprobs, batch, gold) - torch.stack(best)


def _gold(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int]) -> torch.Tensor:
    return logprobs[[start + g for start, g in zip(batch.first_answer[:-1], gold, strict=True)]]
