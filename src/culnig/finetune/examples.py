"""Make training examples of items: the prompt as in evaluation, then its gold answer; only the answer has a loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy, encode, render

IGNORED = -100
"""Label of a token that the loss ignores."""


def examples(lm: LanguageModel, items: Iterable[Item], policy: PromptPolicy) -> list[dict[str, list[int]]]:
    """Return one example for each wording of each item: `input_ids` and `labels`.

    The answer is a label in the multiple-choice formulation, and the gold option's text in the completion formulation.

    Raises:
        UsageError: there are no items.
        PromptError: an item cannot be presented to this model as required.
    """
    prompts = render(items, policy)
    if not prompts:
        raise UsageError("no items to train on")
    made = []
    for row in encode(prompts, lm.tokenizer, policy, lm.max_length):
        answer = row.answer_ids[row.gold]
        made.append({"input_ids": [*row.prompt_ids, *answer], "labels": [IGNORED] * len(row.prompt_ids) + list(answer)})
    return made


def collate(rows: Sequence[dict[str, list[int]]], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Make `input_ids` and `labels` [B, T] of examples, padded on the right, where causal attention never looks."""
    width = max(len(row["input_ids"]) for row in rows)
    pads = {"input_ids": pad_id, "labels": IGNORED}
    padded = {key: [row[key] + [pad] * (width - len(row[key])) for row in rows] for key, pad in pads.items()}
    return {key: torch.tensor(values) for key, values in padded.items()}


def answer_positions(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the rows [Q] and columns [Q] of the logits that predict answers, and the right tokens [Q]."""
    rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return rows, columns, labels[rows, columns + 1]


def describe(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the numbers of examples and tokens to train on."""
    return {
        "examples": len(rows),
        "tokens": sum(len(row["input_ids"]) for row in rows),
        "answer_tokens": sum(sum(label != IGNORED for label in row["labels"]) for row in rows),
    }
