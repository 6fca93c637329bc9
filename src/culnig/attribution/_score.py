"""`score`: items -> Scores, one forward and one backward pass a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from culnig import distributed
from culnig.attribution._accumulate import Accumulator
from culnig.attribution._checkpoint import Checkpoint
from culnig.attribution._hooks import sites_reporting_to
from culnig.attribution._method import METHODS
from culnig.attribution._store import Scores
from culnig.benchmarks import Item, account_of
from culnig.benchmarks._files import item_to_row
from culnig.errors import UsageError
from culnig.files import sha256_json
from culnig.models import LanguageModel
from culnig.models._batch import Row, batches
from culnig.prompts import Encoded, PromptPolicy, encode, render
from culnig.versions import versions

Progress = Callable[[int], None]
"""Called with the number of prompts just done."""


def score(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    method: str = "culnig",
    control: bool | None = None,
    token_budget: int | None = None,
    padded_zeros: int | None = None,
    shard: tuple[int, int] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_minutes: float = 5.0,
    progress: Progress | None = None,
) -> Scores:
    """Score every neuron of every site on a set of items (METHOD section 3).

    Args:
        lm: the model.
        items: the items; groups are their countries.
        formulation: "mcf" (P = softmax over the vocabulary of the answer's label) or "cf" (P = softmax over the item's
            options of their summed token log-probabilities); None is the one recommended for the model.  Ignored if
            `policy` is given.
        policy: formulation, chat template, BOS, wordings.
        method: name of a registered method.
        control: clamp every item's score at 0 from below; None leaves it to each item's own flag.
        token_budget: padded tokens a batch; changes speed and memory, not results.  None suits the device.
        padded_zeros: reproduce a trap of the published implementation: batches of this many prompts in the order
            given, and the padded positions of a shorter prompt enter its maximum as 0.
        shard: (i, n) scores the i-th of n parts of the prompts (i from 1); `merge_scores` adds the parts up.
        checkpoint: file that keeps progress: written every `checkpoint_minutes`, taken up again if it is there and
            belongs to this very job; the caller removes it once the scores are saved.  The result is the same to the bit.
        checkpoint_minutes: see `checkpoint`.
        progress: called with the number of prompts done after each batch.

    Returns:
        Scores with sums [G, L, N] of P * s over each group's prompts.

    Raises:
        UsageError: no items, an unknown method or formulation, or a shard that is none.
        PromptError: an item that cannot be put to this model as asked.
    """
    account = account_of(items)
    items = _controlled(list(items), control)
    if not items:
        raise UsageError("no items to score")
    policy = policy or lm.policy(formulation)
    function = METHODS.get(method)
    encoded = encode(render(items, policy), lm.tokenizer, policy, lm.max_length)
    accumulator = Accumulator(lm, encoded, function, policy.formulation == "mcf", _padded(encoded, padded_zeros))
    mine = _shard_keys(len(encoded), shard)
    rows = [Row(key, encoded[key].prompt_ids, encoded[key].answer_ids) for key in mine]
    whole = batches(rows, token_budget or lm.token_budget)
    work = distributed.share(whole)
    meta = _describe(lm, items, encoded, policy, method) | {
        "padded_zeros": padded_zeros,
        "shard": shard,
        "rows": account,
    }
    saved = Checkpoint(_of_rank(checkpoint), meta | {"batches": [len(chunk) for chunk in whole]}, checkpoint_minutes)
    done = saved.restore(accumulator.sums)
    if done and progress:
        progress(sum(map(len, work[:done])))
    with sites_reporting_to(lm, accumulator.add):
        for number, chunk in enumerate(work[done:], start=done + 1):
            accumulator.run(chunk)
            if number < len(work):
                saved.keep(accumulator.sums, number)
            if progress:
                progress(len(chunk))
    distributed.sum_over_processes(accumulator.sums.values())
    scores = Scores(
        sums={(method, module): tensor for module, tensor in accumulator.result().items()},
        count=np.bincount(accumulator.group_of[mine], minlength=len(accumulator.groups)).astype(np.int64),
        groups=accumulator.groups,
        meta=meta,
    )
    return scores


def _of_rank(checkpoint: Path | str | None) -> Path | None:
    """Each process keeps its own progress."""
    if checkpoint is None or distributed.size() == 1:
        return Path(checkpoint) if checkpoint is not None else None
    return Path(f"{checkpoint}.{distributed.rank()}-of-{distributed.size()}")


def _shard_keys(number: int, shard: tuple[int, int] | None) -> list[int]:
    """Numbers of the prompts of a shard: every n-th, so that shards are alike in length and country."""
    if shard is None:
        return list(range(number))
    i, n = shard
    if not 1 <= i <= n:
        raise UsageError(f"shard {i}/{n}: give i/n with 1 <= i <= n")
    if n > number:
        raise UsageError(f"shard {i}/{n}: there are only {number} prompts to share out")
    return list(range(i - 1, number, n))


def _controlled(items: list[Item], control: bool | None) -> list[Item]:
    if control is None:
        return items
    return [dataclasses.replace(item, control=control) for item in items]


def _padded(encoded: Sequence[Encoded], batch_size: int | None) -> np.ndarray:
    """Which prompts' scores are clamped at 0: the controls, and those that batches of `batch_size` would have padded."""
    clamped = np.array([e.item.control for e in encoded])
    if batch_size is not None:
        lengths = np.array([len(e.prompt_ids) for e in encoded])
        for start in range(0, len(encoded), batch_size):
            part = slice(start, start + batch_size)
            clamped[part] |= lengths[part] < lengths[part].max()
    return clamped


def _describe(
    lm: LanguageModel, items: list[Item], encoded: list[Encoded], policy: PromptPolicy, method: str
) -> dict[str, Any]:
    ids: dict[str, list[str]] = {}
    for item in items:
        ids.setdefault(item.benchmark, []).append(item.id)
    unique = {benchmark: list(dict.fromkeys(names)) for benchmark, names in ids.items()}
    return {
        "format": 1,
        "model": lm.name,
        "model_hash": lm.fingerprint,
        "revision": lm.revision,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "data_hash": sha256_json([item_to_row(item) for item in items]),
        "method": method,
        "modules": list(lm.shapes),
        "formulation": policy.formulation,
        "prompts": policy.resolved(lm.tokenizer),
        "answers_in_context": all(e.in_context for e in encoded),
        "num_items": sum(map(len, unique.values())),
        "num_prompts": len(encoded),
        "item_ids": unique,
        "versions": versions(),
        **({"expert_widths": lm.expert_widths} if lm.expert_widths else {}),
    }
