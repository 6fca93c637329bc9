"""Scores item by item: what `score` sums up, of a few neurons in a second pass, or of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.accumulator import Accumulator
from culnig.attribution.batch import prepare
from culnig.attribution.method import parse_method, parse_methods
from culnig.attribution.scoring import add_references, checked, describe, summed
from culnig.attribution.store import Scores
from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet, Site, check_belongs
from culnig.passes.forward import batches
from culnig.passes.in_step import share_in_step
from culnig.prompts import PromptPolicy


def score_items(
    lm: LanguageModel,
    items: Iterable[Item],
    neurons: Iterable[Neuron],
    *,
    policy: PromptPolicy,
    method: str = "culnig",
    control: bool | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """What each prompt adds to each neuron's sum, float32 [prompts, neurons]; their mean over prompts is S(D).

    `control` takes every item as a control or none, as in `score`; None leaves it to each item's own flag.

    Raises:
        UsageError: no items or neurons, a neuron the model does not have or the method does not score.
    """
    chosen = list(neurons)
    if not chosen:
        raise UsageError("no neurons to score item by item")
    check_belongs(NeuronSet(chosen), lm.shapes, lm.name)
    [parsed] = checked([parse_method(method)], lm, None)
    if other := {neuron.module for neuron in chosen} - set(parsed.modules(lm)):
        raise UsageError(f"{parsed.name} does not score {', '.join(sorted(other))}")
    target = getattr(parsed, "target", "p")
    prompts = prepare(lm, items, policy, control=control, target=target, token_budget=token_budget)
    add_references(lm, prompts, [parsed], policy, list(prompts.items), token_budget)
    keeper = _Keeper(lm, prompts, [parsed], neurons=chosen, budget=token_budget)
    rows = [prompts.row(key) for key in range(len(prompts.encoded))]
    for chunk, counts in share_in_step(lm, batches(rows, token_budget or lm.token_budget)):
        keeper.run(chunk, keep=counts)
        if progress and counts:
            progress(len(chunk))
    found = distributed.gather(keeper.rows)
    return np.stack([found[key] for key in range(len(rows))])


def score_every_prompt(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    policy: PromptPolicy,
    method: str | Sequence[str],
    modules: Sequence[str] | None = None,
    control: bool | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Scores, dict[tuple[str, str], np.ndarray]]:
    """Score all neurons, and keep what each prompt adds: 4 bytes a prompt, neuron and method.

    Args:
        lm: the model.
        items: the items.
        policy, method, modules, control, token_budget, progress: as for `score`.

    Returns:
        The scores, and for each (method, module) what each prompt adds to them, float32 [P, L, N].
    """
    methods = checked(parse_methods(method), lm, modules)
    prompts = prepare(lm, items, policy, control=control, token_budget=token_budget)
    add_references(lm, prompts, methods, policy, list(prompts.items), token_budget)
    keeper = _EveryPrompt(lm, prompts, methods, modules=modules, budget=token_budget)
    keys = list(range(len(prompts.encoded)))
    whole = batches([prompts.row(key) for key in keys], token_budget or lm.token_budget)
    for chunk, counts in share_in_step(lm, whole):
        keeper.run(chunk, keep=counts)
        if progress and counts:
            progress(len(chunk))
    distributed.sum_over_processes(keeper.sums.values())
    distributed.sum_over_processes([torch.from_numpy(values) for values in keeper.kept.values()])
    return summed(keeper, keys, describe(lm, prompts, policy, methods, keeper), {}), keeper.kept


class _EveryPrompt(Accumulator):
    """Keeps all columns for every prompt, besides the sums."""

    def __init__(self, lm: LanguageModel, *args: Any, **options: Any) -> None:
        super().__init__(lm, *args, **options)
        number = len(self.prompts.encoded)
        self.kept = {
            (method, module): np.zeros((number, *lm.shapes[module]), dtype=np.float32)
            for method, modules in self.modules.items()
            for module in modules
        }

    def _commit(self, keys: Sequence[int]) -> None:
        super()._commit(keys)
        for statistic, site, first, scores in self._staged:
            if (statistic, site.module) in self.kept:
                kept = self.kept[statistic, site.module]
                kept[list(keys), site.layer, first : first + scores.shape[1]] = scores.float().cpu().numpy()


class _Keeper(Accumulator):
    """Keeps the columns of some neurons for every prompt, instead of sums."""

    def __init__(self, *args: Any, neurons: Sequence[Neuron], **options: Any) -> None:
        super().__init__(*args, modules=list({neuron.module for neuron in neurons}), **options)
        self.rows: dict[int, np.ndarray] = {}
        self.size = len(neurons)
        self.columns: dict[Site, list[tuple[int, int]]] = {}
        for column, neuron in enumerate(neurons):
            self.columns.setdefault(neuron.site, []).append((column, neuron.index))

    def _stage(self, statistic: str, site: Site, first: int, scores: torch.Tensor) -> None:
        if statistic == self.methods[0].name and site in self.columns:
            super()._stage(statistic, site, first, scores)

    def _commit(self, keys: Sequence[int]) -> None:
        values = np.zeros((len(keys), self.size), dtype=np.float32)
        for _, site, first, scores in self._staged:
            inside = [(c, i - first) for c, i in self.columns[site] if first <= i < first + scores.shape[1]]
            if inside:
                columns, places = (list(each) for each in zip(*inside, strict=True))
                values[:, columns] = scores[:, places].float().cpu().numpy()
        self.rows |= dict(zip(keys, values, strict=True))
