"""`evaluate`: items -> EvalResult, forward passes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from culnig import distributed
from culnig.data import Item, account_of
from culnig.errors import UsageError
from culnig.evaluation.results import EvalResult, describe_items
from culnig.models import LanguageModel
from culnig.passes.forward import Row, answer_logprobs, batches, collate
from culnig.passes.memory import Fitting
from culnig.prompts import Encoded, PromptPolicy, encode, render

MAX_ANSWERS = 32
"""Answers packed behind one prompt at most."""


def evaluate(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Answer every item and keep a row for each.

    Items that share a prompt (several option draws of one question) are run as one row with all their answers: an
    answer's log-probability depends on the prompt alone.

    Args:
        lm: the model, suppressed or not.
        items: the items.
        formulation: "mcf" or "cf"; None is the one recommended for the model.  Ignored if `policy` is given.
        policy: formulation, chat template, BOS, wordings.
        token_budget: padded tokens a batch; None suits the device.
        progress: called with the number of distinct prompts done after each batch.

    Raises:
        UsageError: no items, or an unknown formulation.
        PromptError: an item that cannot be put to this model as asked.
    """
    account, items = account_of(items), list(items)
    if not items:
        raise UsageError("no items to evaluate")
    policy = policy or lm.policy(formulation)
    encoded = encode(render(items, policy), lm.tokenizer, policy, lm.max_length)
    shared = share_prompts(encoded)
    logprobs: dict[int, np.ndarray] = {}
    top_ids: dict[int, int] = {}

    def run(batch_rows: Sequence[Row]) -> None:
        batch = collate(batch_rows, lm.device, lm.tokenizer.pad_token_id or 0)
        with torch.no_grad():
            answers = answer_logprobs(lm, batch)
        values, tops = answers.answer_logprobs.double().cpu().numpy(), answers.top_ids.cpu().tolist()
        for b, row in enumerate(batch_rows):
            logprobs[row.key] = values[batch.first_answer[b] : batch.first_answer[b + 1]]
            top_ids[row.key] = tops[b]

    fitting = Fitting(run)
    for batch_rows in distributed.share(batches(shared.rows, token_budget or lm.token_budget)):
        fitting(batch_rows)
        if progress:
            progress(len(batch_rows))
    logprobs, top_ids = distributed.gather(logprobs), distributed.gather(top_ids)
    rows = []
    for e, (key, columns) in zip(encoded, shared.where, strict=True):
        rows.append(_row(e, logprobs[key][columns], top_ids[key], policy.formulation))
    return EvalResult(pd.DataFrame(rows), describe_items(lm, items, policy) | {"rows": account})


def count_rows(items: Iterable[Item], policy: PromptPolicy) -> int:
    """How many distinct prompts `evaluate` will run; for progress bars."""
    return len({(p.text, p.prefix) for p in render(items, policy)})


class _Shared:
    """Rows with distinct prompts, and for each encoded item (row key, its answers' columns in that row)."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.where: list[tuple[int, list[int]]] = []


def share_prompts(encoded: list[Encoded]) -> _Shared:
    """Put items that share a prompt into one row, at most `MAX_ANSWERS` answers each."""
    shared = _Shared()
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


def _row(e: Encoded, logprobs: np.ndarray, top_id: int, formulation: str) -> dict[str, Any]:
    """One row of the result; see `EvalResult` for the columns."""
    among_options = np.exp(logprobs - np.logaddexp.reduce(logprobs))
    best = int(np.argmax(logprobs))
    gold_logprob = float(logprobs[e.gold])
    if formulation == "mcf":
        # As in the paper: the greedy next token over the whole vocabulary has to be the gold label.
        labels = [ids[0] for ids in e.answer_ids]
        prediction = labels.index(top_id) if top_id in labels else -1
        p_gold = float(np.exp(gold_logprob))
    else:
        prediction, p_gold = best, float(among_options[e.gold])
    others = np.delete(logprobs, e.gold)
    return {
        "id": e.item.id,
        "benchmark": e.item.benchmark,
        "country": e.item.country,
        "topic": e.item.topic,
        "variant": e.item.variant,
        "wording": e.wording,
        "gold": e.gold,
        "prediction": prediction,
        "correct": prediction == e.gold,
        "prediction_among_options": best,
        "correct_among_options": best == e.gold,
        "option_logprobs": logprobs.tolist(),
        "p_gold": p_gold,
        "log_odds": gold_logprob - float(np.logaddexp.reduce(others)) if len(others) else float("nan"),
        **({"alignment": _alignment(e.item.scale, e.gold, prediction)} if e.item.scale else {}),
    }


def _alignment(scale: tuple[int, int], gold: int, prediction: int) -> float:
    """100 * (1 - |p - g| / max(|lo - g|, |hi - g|)) of the steps p and g; 0 where no step was predicted (METHOD section 7)."""
    low, high = scale
    g = low + gold
    return 100 * (1 - abs(low + prediction - g) / max(g - low, high - g)) if prediction >= 0 else 0.0
