"""The prompts of a scoring job, and one batch of them with what methods ask of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from culnig.attribution.columns import Columns, FlatTerms, KeyBatches, Terms
from culnig.data import Item, ItemStream
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import Site
from culnig.passes.calibration import forgetting, offsets_of
from culnig.passes.forward import Batch, Row, answer_logprobs
from culnig.passes.trees import Tree, make_batch
from culnig.prompts import Encoded, EncodedStream, PromptPolicy, encode, render

FLOAT16_SCALE = 2.0**12
"""What float16 gradients are multiplied by at first: log P has gradients below 2^-24, the least number of float16."""
Reference = dict[Site, torch.Tensor]
"""Values to compare with, [N] or [B, N]."""


class Placed:
    """A tensor, and its copies on other devices; each is made once."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self._copies = {tensor.device: tensor}

    def on(self, device: torch.device) -> torch.Tensor:
        """Return the tensor on a device."""
        if device not in self._copies:
            self._copies[device] = self.tensor.to(device)
        return self._copies[device]


@dataclass
class Prompts:
    """All prompts of a job; a row's key is its prompt's number here.

    Attributes:
        items: the items they are made of.
        encoded: the prompts, wordings of an item in a row.
        over_vocabulary: P is the softmax over the vocabulary (mcf without calibration), not over the options.
        control: [P], whether the item is a control; a method says whether their scores are clamped at 0 from below.
        terms: weights and offsets of each prompt's options (`prompts.calibration`); None without calibration.
        columns: what is kept of every prompt; None makes it of `encoded`.
        padded: [P], which prompts padding enters with a 0 (`padded_zeros` of `score`); None for no such trap.
        twins: the control prompt of each (its item without the question), where a method asks for them.
        mean: each site's mean value over the job's items, [N], where a method asks for it.
        cache: what methods compute once a job.
    """

    items: Sequence[Item]
    encoded: Sequence[Encoded]
    over_vocabulary: bool
    control: np.ndarray
    terms: Sequence[Terms] | None = None
    padded: np.ndarray | None = None
    twins: Sequence[Encoded] | None = None
    mean: Reference | None = None
    columns: Columns = None  # type: ignore[assignment]  # there once the prompts are made
    groups: list[str] = field(init=False)
    group_of: np.ndarray = field(init=False)
    gold: list[int] = field(init=False)
    cache: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.columns is None:
            self.columns = Columns(self.encoded)
        self.groups, self.group_of, self.gold = self.columns.groups, self.columns.group_of, self.columns.gold

    def row(self, key: int) -> Row:
        """The row of a prompt."""
        e = self.encoded[key]
        return Row(key, e.prompt_ids, e.answer_ids)

    def batches(self, keys: Sequence[int], token_budget: int) -> KeyBatches:
        """Return batches of prompts by their numbers; those of a stream stay within a chunk of it."""
        parts = self.encoded.starts if isinstance(self.encoded, EncodedStream) else [0, len(self.encoded)]
        return KeyBatches.of(self.columns.lengths, keys, parts, token_budget)


def prepare(
    lm: LanguageModel,
    items: Iterable[Item],
    policy: PromptPolicy,
    *,
    control: bool | None = None,
    target: str = "p",
    padded_zeros: int | None = None,
    token_budget: int | None = None,
) -> Prompts:
    """Items -> the prompts of a job, with what calibrates their options.

    Args:
        lm: the model.
        items: the items.
        policy: how they are put.
        control: take every item as a control or none; None leaves it to each item's own flag.
        target: "diff" and "odds" need two answers at least.
        padded_zeros: see `score`.
        token_budget: padded tokens a batch, where offsets have to be measured first.

    Raises:
        UsageError: no items, or an item with a single answer where the logit difference is asked for.
        PromptError: an item that cannot be put to this model as asked.
    """

    def as_asked(item: Item) -> Item:
        return item if control is None else dataclasses.replace(item, control=control)

    if not isinstance(items, ItemStream):
        items = [as_asked(item) for item in items]
    elif control is not None:
        items = items.changed(as_asked)
    if not items:
        raise UsageError("no items to score")
    columns, terms = Columns(), FlatTerms()

    def take(part: Sequence[Encoded]) -> None:
        columns.add(part)
        _check_answers(part, target, policy)
        if policy.calibration != "none":
            with forgetting(lm, isinstance(items, ItemStream)):
                offsets = offsets_of(lm, part, policy, token_budget=token_budget)
            for each in offsets:
                terms.append(each.terms(policy.calibration))

    encoded = encoded_of(lm, items, policy, take)
    over_vocabulary = policy.formulation == "mcf" and policy.calibration == "none"
    kept = None if policy.calibration == "none" else terms
    padded = _padded(columns.tokens, padded_zeros)
    return Prompts(items, encoded, over_vocabulary, columns.control, kept, padded, columns=columns)


def encoded_of(
    lm: LanguageModel,
    items: Sequence[Item],
    policy: PromptPolicy,
    seen: Callable[[Sequence[Encoded]], None] = lambda part: None,
) -> Sequence[Encoded]:
    """Return the encoded prompts of items, which stay on the disk if the items do; `seen` is called with all of them."""
    if isinstance(items, ItemStream):
        return EncodedStream(items, lm.tokenizer, policy, lm.max_length, seen)
    encoded = encode(render(items, policy), lm.tokenizer, policy, lm.max_length)
    seen(encoded)
    return encoded


def _check_answers(encoded: Sequence[Encoded], target: str, policy: PromptPolicy) -> None:
    """Check that prompts have the wrong answer that a target needs."""
    if target == "diff" or (target == "odds" and (policy.formulation == "cf" or policy.calibration != "none")):
        for e in encoded:
            if len(e.answer_ids) < 2:
                raise UsageError(
                    f"item {e.item.id} of {e.item.benchmark} has a single answer; {target} needs a wrong one"
                )


def control_twins(lm: LanguageModel, prompts: Prompts, policy: PromptPolicy) -> Sequence[Encoded]:
    """The control prompt of each prompt: its item without the question, in the same wording.

    Raises:
        UsageError: a ready-made prompt, of which no question can be taken away.
    """
    for item in prompts.items:
        if item.prompt is not None:
            raise UsageError(
                f"item {item.id} of {item.benchmark} is a ready-made prompt, which has no control prompt;"
                " atp:control needs items with a question and options"
            )

    def bare(item: Item) -> Item:
        return dataclasses.replace(item, question="")

    items = prompts.items
    return encoded_of(lm, items.changed(bare) if isinstance(items, ItemStream) else list(map(bare, items)), policy)


def _padded(lengths: np.ndarray, batch_size: int | None) -> np.ndarray | None:
    """Which prompts of these lengths batches of `batch_size`, in the order given, would have padded."""
    if batch_size is None:
        return None
    padded = np.zeros(len(lengths), dtype=bool)
    for start in range(0, len(lengths), batch_size):
        part = slice(start, start + batch_size)
        padded[part] = lengths[part] < lengths[part].max()
    return padded


class ScoringBatch:
    """One batch of prompts on the device.

    Attributes:
        sites: the sites that are scored.
        rows: the prompts; those of trees one after the other, where tensors [B, ..] have a row for each tree.
        budget: padded tokens that a pass should not exceed.
        probability: [B], P(gold answer); there once a pass has run.
        twin_means: each site's mean value over the positions of each row's control prompt, [B, N]; None unless asked for.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Prompts,
        rows: Sequence[Tree | Row],
        *,
        modules: Collection[str] | None = None,
        budget: int | None = None,
    ) -> None:
        self.lm = lm
        self.prompts = prompts
        self.sites = {s: found for s, found in lm.sites.items() if modules is None or s.module in modules}
        self.budget = budget or lm.token_budget
        self.batch = make_batch(lm, rows)
        self.rows = self.batch.rows
        self._real = Placed(self.batch.real) if self.batch.real is not None else None
        self.twin_means: Reference | None = None
        self._floors: dict[tuple[bool, bool], Placed | None] = {}

    @property
    def keys(self) -> list[int]:
        return [row.key for row in self.rows]

    @property
    def probability(self) -> torch.Tensor:
        return self._probability.tensor

    @probability.setter
    def probability(self, values: torch.Tensor) -> None:
        self._probability = Placed(values)

    def probability_on(self, device: torch.device) -> torch.Tensor:
        """Return `probability` on a device."""
        return self._probability.on(device)

    def real_on(self, device: torch.device) -> torch.Tensor | None:
        """Return [B, T], True at tokens, on a device; None where there is no padding."""
        return self._real.on(device) if self._real is not None else None

    def last_on(self, device: torch.device) -> torch.Tensor:
        """Return [B], the index of each prompt's last position, on a device."""
        return self._last.on(device)

    @cached_property
    def _last(self) -> Placed:
        return Placed(self.batch.logit_columns[self.batch.after_prompt])

    @property
    def loss_scale(self) -> float:
        """What a backward pass multiplies the objective by, a power of two: small gradients underflow in float16."""
        return self.prompts.cache.setdefault("loss scale", FLOAT16_SCALE if self.lm.dtype == torch.float16 else 1.0)

    def reduce_loss_scale(self) -> bool:
        """Make the loss scale smaller, because a gradient has overflowed; False where it is 1 already."""
        smaller = max(1.0, self.loss_scale / 16)
        changed, self.prompts.cache["loss scale"] = smaller < self.loss_scale, smaller
        return changed

    def logprobs(self, embedded: torch.Tensor | None = None) -> torch.Tensor:
        """A forward pass: log-probabilities of the batch's answers."""
        return answer_logprobs(self.lm, self.batch, embedded).answer_logprobs

    def embedded(self) -> torch.Tensor:
        """The batch's embeddings, from where a backward pass can be asked for."""
        return self.lm.model.get_input_embeddings()(self.batch.input_ids).detach().requires_grad_(True)

    def objective(self, kind: str, logprobs: torch.Tensor) -> torch.Tensor:
        """ "logp", "diff" or "odds" of each row, [B]."""
        return objective(kind, logprobs, self.batch, self.prompts)

    def finish(self, scores: torch.Tensor, weight: str, *, controls: bool, padded: bool) -> torch.Tensor:
        """Clamp scores [B, N] at 0 from below, of the controls and of prompts that padding enters, then weight by confidence."""
        if (floor := self._floor(controls, padded)) is not None:
            scores = torch.maximum(scores, floor.on(scores.device).to(scores.dtype))
        return scores * self.probability_on(scores.device)[:, None] if weight == "weighted" else scores

    def _floor(self, controls: bool, padded: bool) -> Placed | None:
        """What scores are at least, [B, 1]: 0 for the controls, for prompts that padding enters, or for neither."""
        if (controls, padded) not in self._floors:
            at_zero = np.zeros(len(self.rows), dtype=bool)
            if controls:
                at_zero |= self.prompts.control[self.keys]
            if padded and self.prompts.padded is not None:
                at_zero |= self.prompts.padded[self.keys]
            floor = Placed(torch.where(torch.from_numpy(at_zero), 0.0, -torch.inf)[:, None])
            self._floors[controls, padded] = floor if at_zero.any() else None
        return self._floors[controls, padded]


def objective(kind: str, logprobs: torch.Tensor, batch: Batch, prompts: Prompts) -> torch.Tensor:
    """A row's log P(gold) ("logp"), gold minus best wrong ("diff") or log-odds ("odds"), [B]; calibrated."""
    if prompts.terms is not None:
        terms = [prompts.terms[row.key] for row in batch.rows]
        weights, offsets = (
            torch.tensor([x for each in terms for x in each[i]], device=logprobs.device, dtype=logprobs.dtype)
            for i in (0, 1)
        )
        logprobs = logprobs * weights - offsets
    gold = [prompts.gold[row.key] for row in batch.rows]
    if kind == "diff":
        return logit_difference(logprobs, batch, gold)
    if kind == "odds":
        return log_odds(logprobs, batch, gold, prompts.over_vocabulary)
    return gold_logprob(logprobs, batch, gold, prompts.over_vocabulary)


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


def log_odds(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int], over_vocabulary: bool) -> torch.Tensor:
    """Log-odds of the gold answer of each row, [B]: against the rest of the vocabulary (mcf), or its other answers (cf)."""
    if over_vocabulary:
        picked = _gold(logprobs, batch, gold)
        return picked - torch.log(-torch.expm1(picked))
    others = []
    for (a, b), g in zip(itertools.pairwise(batch.first_answer), gold, strict=True):
        others.append(torch.logsumexp(torch.cat([logprobs[a : a + g], logprobs[a + g + 1 : b]]), dim=0))
    return _gold(logprobs, batch, gold) - torch.stack(others)


def _gold(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int]) -> torch.Tensor:
    return logprobs[[start + g for start, g in zip(batch.first_answer[:-1], gold, strict=True)]]
