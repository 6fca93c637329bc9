"""`evaluate`: items -> EvalResult, forward passes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig.data import Item, account_of
from culnig.errors import UsageError
from culnig.evaluation.judging import judged, kept
from culnig.evaluation.results import EvalResult, describe_items
from culnig.models import LanguageModel
from culnig.passes.answers import answers_of
from culnig.passes.calibration import offsets_of
from culnig.prompts import Encoded, PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration, Offsets


def evaluate(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    kinds: Sequence[Calibration] | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Answer every item and keep a row for each.

    Items that share a prompt (several option draws of one question) are run as one row with all their answers: an
    answer's log-probability depends on the prompt alone.

    Args:
        lm: the model, suppressed or not.
        items: the items.
        formulation: "mcf" or "cf", with its own calibration; None is the one recommended for the model.  Ignored if
            `policy` is given.
        policy: formulation, chat template, BOS, wordings, calibration.
        kinds: keep the offsets of these calibrations in the rows, instead of those that the policy's calibration needs.
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
    offsets = offsets_of(lm, encoded, policy, kinds=kinds, token_budget=token_budget)
    answers = answers_of(lm, encoded, token_budget=token_budget, progress=progress)
    rows = []
    for e, offset, (logprobs, top_id) in zip(encoded, offsets, answers, strict=True):
        rows.append(_row(e, logprobs, top_id, policy, offset))
    return EvalResult(pd.DataFrame(rows), describe_items(lm, items, policy) | {"rows": account})


def count_rows(items: Iterable[Item], policy: PromptPolicy) -> int:
    """How many distinct prompts `evaluate` will run; for progress bars."""
    return len({(p.system, p.text, p.prefix) for p in render(items, policy)})


def prompts_seen(lm: LanguageModel, items: Iterable[Item], policy: PromptPolicy) -> pd.DataFrame:
    """Return each row's prompt as the model sees it, special tokens included, and the answers that are compared.

    Returns:
        Columns benchmark, id, wording, prompt, answers; the rows of `evaluate`, in its order.
    """
    encoded = encode(render(list(items), policy), lm.tokenizer, policy, lm.max_length)
    texts = lm.tokenizer.batch_decode([list(e.prompt_ids) for e in encoded], skip_special_tokens=False)
    answers = iter(lm.tokenizer.batch_decode([list(ids) for e in encoded for ids in e.answer_ids]))
    rows = [
        {
            "benchmark": e.item.benchmark,
            "id": e.item.id,
            "wording": e.wording,
            "prompt": text,
            "answers": [next(answers) for _ in e.answer_ids],
        }
        for e, text in zip(encoded, texts, strict=True)
    ]
    return pd.DataFrame(rows)


def _row(e: Encoded, logprobs: np.ndarray, top_id: int, policy: PromptPolicy, offsets: Offsets) -> dict[str, Any]:
    """One row of the result; see `EvalResult` for the columns."""
    greedy = None
    if policy.formulation == "mcf":
        labels = [ids[0] for ids in e.answer_ids]
        greedy = labels.index(top_id) if top_id in labels else -1
    facts = judged(logprobs, e.gold, policy.calibration, offsets, greedy)
    scale = e.item.scale
    return {
        "id": e.item.id,
        "benchmark": e.item.benchmark,
        "country": e.item.country,
        "topic": e.item.topic,
        "variant": e.item.variant,
        "wording": e.wording,
        "gold": e.gold,
        "option_logprobs": logprobs.tolist(),
        **facts,
        **kept(offsets),
        **({} if greedy is None else {"greedy": greedy}),
        **({"alignment": _alignment(scale, e.gold, facts["prediction"])} if scale else {}),
    }


def _alignment(scale: tuple[int, int], gold: int, prediction: int) -> float:
    """100 * (1 - |p - g| / max(|lo - g|, |hi - g|)) of the steps p and g; 0 where no step was predicted (METHOD section 7)."""
    low, high = scale
    g = low + gold
    return 100 * (1 - abs(low + prediction - g) / max(g - low, high - g)) if prediction >= 0 else 0.0
