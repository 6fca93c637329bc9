"""Random controls: as many neurons as a set has, from the same pools or from the same sites."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet


def select_random(
    like: NeuronSet, shapes: Mapping[str, tuple[int, int]], *, how: str = "matched", seed: int = 0
) -> NeuronSet:
    """Draw a random control for a set.

    Args:
        like: the set to match; its neurons are never drawn.
        shapes: module -> (L, N) of the model (`lm.shapes` or `Scores.shapes()`).
        how: "matched" draws as many from the same module and layer; "uniform" as many from the same pool (gate; or
            q, k, v together), as in the paper.
        seed: seed of the draw.

    Raises:
        UsageError: an unknown `how`, an empty set, or a pool with too few neurons left to draw from.
    """
    if how not in ("matched", "uniform"):
        raise UsageError(f"unknown kind of random control '{how}'; there are matched and uniform")
    if not len(like):
        raise UsageError("the set to match is empty; there is nothing to draw")
    rng = np.random.default_rng(seed)
    drawn: list[Neuron] = []
    for places in _strata(like, shapes, how):
        taken = [neuron for neuron in like if neuron.site in places]
        blocked = set(taken)
        free = [Neuron(*site, i) for site in places for i in range(shapes[site[0]][1])]
        free = [neuron for neuron in free if neuron not in blocked]
        if len(free) < len(taken):
            raise UsageError(f"only {len(free)} other neurons to draw {len(taken)} from in {sorted(places)[0]}")
        drawn += [free[i] for i in sorted(rng.choice(len(free), size=len(taken), replace=False))]
    provenance = {"kind": f"random, {how}", "seed": seed, "like": like.provenance.get("kind", "")}
    return NeuronSet(drawn, model_name=like.model_name, provenance=provenance, expert_widths=like.expert_widths)


def _strata(like: NeuronSet, shapes: Mapping[str, tuple[int, int]], how: str) -> list[set[tuple[str, int]]]:
    """The sets of sites within which a neuron may be exchanged for another."""
    if how == "matched":
        return [{site} for site in like.by_site()]
    modules = {neuron.module for neuron in like}
    strata = []
    for pool in (MLP_POOL, ATTENTION_POOL, *((m,) for m in modules - {*MLP_POOL, *ATTENTION_POOL})):
        if modules & set(pool):
            strata.append({(m, layer) for m in pool if m in shapes for layer in range(shapes[m][0])})
    return strata
