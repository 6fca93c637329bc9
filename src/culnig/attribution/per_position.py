"""Values and contributions of a few neurons at every position of every prompt: what a score is put together from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.batch import Prompts, ScoringBatch, prepare
from culnig.attribution.method import GradientMethod, Seen, parse_method
from culnig.attribution.observe import run_pass
from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet, Site, check_belongs
from culnig.passes.forward import Row, batches
from culnig.passes.in_step import check_passes, share_in_step
from culnig.passes.memory import Fitting
from culnig.prompts import PromptPolicy


@dataclass(frozen=True)
class PromptPositions:
    """One prompt with its answers, token by token.

    Attributes:
        item: the item.
        token_ids: [T], the prompt's tokens, then those of each answer but its last.
        prompt_tokens: so many of them are the prompt's.
        probability: P(gold answer).
        values: [T, neurons], the neurons' values.
        contributions: [T, neurons], what each position adds to the method's target, before positions are put together.
    """

    item: Item
    token_ids: np.ndarray
    prompt_tokens: int
    probability: float
    values: np.ndarray
    contributions: np.ndarray


def positions_of(
    lm: LanguageModel,
    items: Iterable[Item],
    neurons: Iterable[Neuron],
    *,
    policy: PromptPolicy,
    method: str = "culnig",
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[PromptPositions]:
    """Run forward and backward once over the items, and keep every position of the neurons.

    With `culnig`, the maximum of `contributions` over positions, times `probability`, is what `score_items` gives.

    Raises:
        UsageError: no items or neurons, a neuron the model does not have, or a method without plain gradients.
    """
    chosen, parsed = list(neurons), parse_method(method)
    if not chosen:
        raise UsageError("no neurons to look at")
    if not isinstance(parsed, GradientMethod) or parsed.rules != "plain":
        raise UsageError(f"{parsed.name} has no plain contribution at every position; use culnig")
    check_passes(lm)
    check_belongs(NeuronSet(chosen), lm.shapes, lm.name)
    prompts = prepare(lm, items, policy, control=False, target=parsed.target, token_budget=token_budget)
    watcher = _Watcher(lm, prompts, parsed, chosen, token_budget)
    rows = [prompts.row(key) for key in range(len(prompts.encoded))]
    for chunk, counts in share_in_step(lm, batches(rows, token_budget or lm.token_budget)):
        watcher.run(chunk)  # a batch that does not count gives prompts that another process gives, too
        if progress and counts:
            progress(len(chunk))
    found = distributed.gather(watcher.found)
    return [found[key] for key in range(len(rows))]


class _Watcher:
    """Keeps the columns of some neurons at every position."""

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Prompts,
        method: GradientMethod,
        neurons: Sequence[Neuron],
        budget: int | None,
    ) -> None:
        self.lm, self.prompts, self.method, self.budget = lm, prompts, method, budget
        self.size = len(neurons)
        self.found: dict[int, PromptPositions] = {}
        self.columns: dict[Site, list[tuple[int, int]]] = {}
        for column, neuron in enumerate(neurons):
            self.columns.setdefault(neuron.site, []).append((column, neuron.index))
        self.run = Fitting[Row](self._run, halves=not lm.is_sharded)
        self._staged: dict[str, torch.Tensor] = {}

    def _run(self, rows: Sequence[Row]) -> None:
        modules = {site.module for site in self.columns}
        work = ScoringBatch(self.lm, self.prompts, rows, modules=modules, budget=self.budget)
        shape = (*work.batch.input_ids.shape, self.size)
        self._staged = {kind: torch.zeros(shape) for kind in ("values", "contributions")}
        run_pass(work, [self.method], [], lambda *_: None, watch=self._watch)
        ids, probability = work.batch.input_ids.cpu().numpy(), work.probability.float().cpu()
        for b, row in enumerate(work.rows):
            arrays: dict[str, Any] = {kind: x[b, : row.length].numpy().copy() for kind, x in self._staged.items()}
            e = self.prompts.encoded[row.key]
            tokens = ids[b, : row.length].copy()
            self.found[row.key] = PromptPositions(e.item, tokens, len(row.prompt), float(probability[b]), **arrays)

    def _watch(self, site: Site, seen: Seen, contributions: torch.Tensor) -> None:
        width = contributions.shape[-1]
        inside = [(c, i - seen.first) for c, i in self.columns.get(site, ()) if seen.first <= i < seen.first + width]
        if not inside:
            return
        columns, places = (list(each) for each in zip(*inside, strict=True))
        found = contributions[..., places].float()
        if self.method.target == "p" and seen.probability is not None:
            found = found * seen.probability[:, None, None]
        self._staged["values"][..., columns] = seen.value[..., places].float().cpu()
        self._staged["contributions"][..., columns] = found.cpu()
