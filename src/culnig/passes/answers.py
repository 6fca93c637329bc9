"""Compute log-probabilities of all answers of many prompts; equal prompts, and equal beginnings, are run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from culnig import distributed
from culnig.models import LanguageModel
from culnig.passes.forward import Row, answer_logprobs
from culnig.passes.in_step import share_in_step
from culnig.passes.memory import Fitting
from culnig.passes.numbers import no_numbers
from culnig.passes.trees import Tree, make_batch, sharing_batches
from culnig.prompts import Encoded

MAX_ANSWERS = 32
"""Largest number of answers behind one prompt."""


class SharedRows:
    """Rows with distinct prompts, and for each encoded prompt (row key, its answers' columns in that row)."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.where: list[tuple[int, list[int]]] = []


def share_prompts(encoded: Sequence[Encoded]) -> SharedRows:
    """Put items that share a prompt into one row, at most `MAX_ANSWERS` answers each.

    An answer's log-probability depends only on the prompt, so several option draws of one question share a row.
    """
    shared = SharedRows()
    by_prompt: dict[tuple[int, ...], tuple[int, dict[tuple[int, ...], int]]] = {}
    made: list[tuple[tuple[int, ...], dict[tuple[int, ...], int]]] = []
    for e in encoded:
        key, known = by_prompt.get(e.prompt_ids, (-1, {}))
        if key < 0 or len(known | dict.fromkeys(e.answer_ids, 0)) > MAX_ANSWERS:
            key, known = len(made), {}
            by_prompt[e.prompt_ids] = (key, known)
            made.append((e.prompt_ids, known))
        columns = [known.setdefault(answer, len(known)) for answer in e.answer_ids]
        shared.where.append((key, columns))
    shared.rows = [Row(key, prompt, tuple(known)) for key, (prompt, known) in enumerate(made)]
    return shared


def answer_batches(encoded: Sequence[Encoded], token_budget: int) -> Sequence[Sequence[Tree | Row]]:
    """Return the batches that `answers_of` runs."""
    return sharing_batches(share_prompts(encoded).rows, token_budget)


def answers_of(
    lm: LanguageModel,
    encoded: Sequence[Encoded],
    *,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[np.ndarray, int]]:
    """Return each prompt's log-probabilities of its answers (float64 [options], nats) and its most probable next token.

    Args:
        lm: the model, edited or not.
        encoded: the prompts.
        token_budget: padded tokens a batch; None takes a number that suits the device.
        progress: called with the number of distinct prompts done after each batch.
    """
    where = share_prompts(encoded).where
    logprobs: dict[int, np.ndarray] = {}
    top_ids: dict[int, int] = {}

    def run(members: Sequence[Tree | Row]) -> None:
        batch = make_batch(lm, members)
        with torch.no_grad():
            answers = answer_logprobs(lm, batch)
        values, tops = answers.answer_logprobs.double().cpu().numpy(), answers.top_ids.cpu().tolist()
        if np.isnan(values).any():
            raise no_numbers(lm, "the log-probabilities of answers")
        for number, row in enumerate(batch.rows):
            logprobs[row.key] = values[batch.first_answer[number] : batch.first_answer[number + 1]]
            top_ids[row.key] = tops[number]

    fitting = Fitting(run, halves=not lm.is_sharded)
    for members, counts in share_in_step(lm, answer_batches(encoded, token_budget or lm.token_budget)):
        fitting(members)  # a batch that does not count gives rows that another process gives, too
        if progress and counts:
            progress(sum(member.num_prompts for member in members))
    logprobs, top_ids = distributed.gather(logprobs), distributed.gather(top_ids)
    return [(logprobs[key][columns], top_ids[key]) for key, columns in where]
