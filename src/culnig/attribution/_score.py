"""`score`: items -> Scores, one forward and one backward pass a batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from culnig.attribution._hooks import sites_reporting_to
from culnig.attribution._method import METHODS, Method
from culnig.attribution._store import Scores
from culnig.benchmarks import Item
from culnig.benchmarks._files import item_to_row
from culnig.errors import UsageError
from culnig.files import sha256_json
from culnig.models import LanguageModel
from culnig.models._batch import Batch, Row, answer_logprobs, batches, collate
from culnig.neurons import Site
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
        progress: called with the number of prompts done after each batch.

    Returns:
        Scores with sums [G, L, N] of P * s over each group's prompts.

    Raises:
        UsageError: no items, or an unknown method or formulation.
        PromptError: an item that cannot be put to this model as asked.
    """
    items = _controlled(list(items), control)
    if not items:
        raise UsageError("no items to score")
    policy = policy or lm.policy(formulation)
    function = METHODS.get(method)
    encoded = encode(render(items, policy), lm.tokenizer, policy, lm.max_length)
    accumulator = _Accumulator(lm, encoded, function, policy.formulation == "mcf", _padded(encoded, padded_zeros))
    rows = [Row(key, e.prompt_ids, e.answer_ids) for key, e in enumerate(encoded)]
    with sites_reporting_to(lm, accumulator.add):
        for chunk in batches(rows, token_budget or lm.token_budget):
            accumulator.run(chunk)
            if progress:
                progress(len(chunk))
    return Scores(
        sums={(method, module): tensor for module, tensor in accumulator.result().items()},
        count=np.bincount(accumulator.group_of, minlength=len(accumulator.groups)).astype(np.int64),
        groups=accumulator.groups,
        meta=_describe(lm, items, encoded, policy, method) | {"padded_zeros": padded_zeros} | _experts(lm),
    )


class _Accumulator:
    """Runs batches and sums each site's per-item scores by group, in float64 on the device."""

    def __init__(
        self, lm: LanguageModel, encoded: Sequence[Encoded], method: Method, over_vocabulary: bool, clamped: np.ndarray
    ) -> None:
        self.lm = lm
        self.method = method
        self.over_vocabulary = over_vocabulary
        self.gold = [e.gold for e in encoded]
        self.groups = sorted({e.item.country for e in encoded})
        index = {group: i for i, group in enumerate(self.groups)}
        self.group_of = np.array([index[e.item.country] for e in encoded])
        self.clamped = torch.from_numpy(clamped)
        # MPS has no float64; there the sums are float32.
        kind = torch.float32 if lm.device.type == "mps" else torch.float64
        self.sums = {
            site: torch.zeros(len(self.groups), found.width, dtype=kind, device=found.device)
            for site, found in lm.sites.items()
        }
        self._batch: Batch
        self._probability: torch.Tensor
        self._group: torch.Tensor
        self._clamp: torch.Tensor

    def run(self, rows: Sequence[Row]) -> None:
        """One forward and one backward pass; the hooks call `add` on the way back."""
        keys = [row.key for row in rows]
        self._batch = batch = collate(rows, self.lm.device, self.lm.tokenizer.pad_token_id or 0)
        embedded = self.lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
        with torch.enable_grad():
            logprobs = answer_logprobs(self.lm, batch, embedded).answer_logprobs
            gold = gold_logprob(logprobs, batch, [self.gold[key] for key in keys], self.over_vocabulary)
            self._probability = gold.detach().exp()
            self._group = torch.from_numpy(self.group_of[keys])
            self._clamp = self.clamped[keys]
            gold.sum().backward()

    def add(self, site: Site, value: torch.Tensor, gradient: torch.Tensor, first: int = 0) -> None:
        """Reduce value and gradient ([B, T, N]) of a site's neurons from `first` on and add them to its sums."""
        device = value.device
        probability = self._probability.to(device)
        real = self._batch.real.to(device) if self._batch.real is not None else None
        item_scores = self.method(value, gradient, real, probability)
        if self._clamp.any():
            floor = torch.where(self._clamp, 0.0, -torch.inf).to(device)
            item_scores = torch.maximum(item_scores, floor[:, None].to(item_scores.dtype))
        weighted = (item_scores * probability[:, None]).to(self.sums[site].dtype)
        neurons = self.sums[site][:, first : first + weighted.shape[1]]
        neurons.index_add_(0, self._group.to(device), weighted)

    def result(self) -> dict[str, np.ndarray]:
        """Module -> float32 [G, L, N]."""
        return {
            module: np.stack([self.sums[Site(module, layer)].float().cpu().numpy() for layer in range(layers)], axis=1)
            for module, (layers, _) in self.lm.shapes.items()
        }


def gold_logprob(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int], over_vocabulary: bool) -> torch.Tensor:
    """log P(gold answer) of each row, [B]: over the vocabulary (mcf) or renormalised over the row's answers (cf)."""
    starts = batch.first_answer
    picked = logprobs[[start + g for start, g in zip(starts[:-1], gold, strict=True)]]
    if over_vocabulary:
        return picked
    norms = [torch.logsumexp(logprobs[a:b], dim=0) for a, b in itertools.pairwise(starts)]
    return picked - torch.stack(norms)


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


def _experts(lm: LanguageModel) -> dict[str, Any]:
    return {"expert_widths": lm.expert_widths} if lm.expert_widths else {}


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
    }
