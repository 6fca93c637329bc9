"""A model's outputs and parameters, to compare before and after an edit."""

from __future__ import annotations

import torch

IDS = torch.arange(3, 60).reshape(3, 19)


def logits(lm):
    """Logits of three rows of tokens."""
    with torch.no_grad():
        return lm.model(IDS).logits


def snapshot(lm):
    """Every parameter by name, so that one too many or too few is seen."""
    return {name: p.detach().clone() for name, p in lm.model.named_parameters()}


def same(lm, before):
    """Whether the model has the parameters of a snapshot, to the byte."""
    now = dict(lm.model.named_parameters())
    return now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
