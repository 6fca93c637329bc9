"""Means of signed sums over many items at once, where items that begin alike share their tokens.

A signed sum is linear in the objective: what the neuron gives to several items together is n * d(sum of their objectives)/dn,
summed over tokens.  So a token that several items share needs one forward and one backward pass, not one an item.  On
`everyday` that halves the tokens.  Maxima, clamped or weighted scores, and sums by group need each item's own gradient;
`score` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from culnig import distributed
from culnig.attribution.accumulator import Accumulator
from culnig.attribution.batch import Reference, prepare
from culnig.attribution.method import GradientMethod, Method, parse_method
from culnig.attribution.scoring import add_references, checked, score
from culnig.data import Item
from culnig.models import LanguageModel
from culnig.passes.in_step import share_in_step
from culnig.passes.trees import sharing_batches
from culnig.prompts import PromptPolicy

ByModule = dict[str, np.ndarray]
"""Module -> a number for each neuron, float64 [L, N]."""


def mean_over_items(
    lm: LanguageModel,
    items: Sequence[Item],
    *,
    policy: PromptPolicy,
    method: str,
    modules: Sequence[str],
    reference: Reference | None = None,
    token_budget: int | None = None,
) -> ByModule:
    """Return S(D) of every neuron: the mean over prompts of a method's score, as `score` gives it up to rounding.

    Args:
        lm: the model.
        items: the items.
        policy: how they are put.
        method: one scoring method; items share tokens if it `can_pool`, and `score` does the work if not.
        modules: the modules to score.
        reference: what `atp:dataset` compares values with; None is the mean over these items.
        token_budget: padded tokens a batch; None suits the device.

    Raises:
        UsageError, PromptError, ModelError: as for `score`.
    """
    parsed = parse_method(method)
    if not can_pool(parsed):
        scores = score(
            lm,
            items,
            policy=policy,
            method=parsed.name,
            modules=modules,
            reference=reference,
            token_budget=token_budget,
        )
        return {module: scores.mean(module, parsed.name) for module in modules}
    checked([parsed], lm, modules)
    target = getattr(parsed, "target", "p")
    prompts = prepare(lm, items, policy, target=target, token_budget=token_budget)
    prompts.mean = reference
    add_references(lm, prompts, [parsed], policy, items, token_budget)
    accumulator = _Pooled(lm, prompts, [parsed], modules=modules, budget=token_budget)
    rows = [prompts.row(key) for key in range(len(prompts.encoded))]
    for members, counts in share_in_step(lm, sharing_batches(rows, token_budget or lm.token_budget)):
        accumulator.run(members, keep=counts)
    distributed.sum_over_processes(accumulator.sums.values())
    sums = accumulator.result("sum")
    return {module: sums[parsed.name, module].sum(axis=0, dtype=np.float64) / len(rows) for module in modules}


def can_pool(method: Method) -> bool:
    """Return whether a method's score is a sum over tokens of what is linear in the objective, every item counting alike."""
    return (
        isinstance(method, GradientMethod)
        and method.positions == "sum"
        and method.first == "keep_first"
        and method.target != "p"
        and method.weight == "unweighted"
        and not method.clamps
        and getattr(method, "reference", None) != "control"
    )


class _Pooled(Accumulator):
    """Adds up what whole trees of prompts give, in one row of sums."""

    def _commit(self, keys: Sequence[int]) -> None:
        for statistic, site, first, scores in self._staged:
            sums = self.sums[f"sum/{statistic}/{site.module}/{site.layer}"]
            sums[0, first : first + scores.shape[1]] += scores.sum(dim=0, dtype=sums.dtype)
