"""Sweeps over thresholds: many selections from one sorting, without scoring again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from culnig.attribution import Scores
from culnig.neurons import Neuron, NeuronSet
from culnig.selection.general import general_difference, pools, used
from culnig.selection.pools import Pool, check_together, floor_count, method_of, present, provenance, top_ranked
from culnig.selection.rules import GeneralRule, make_rule


def sweep_general(
    neur: Scores,
    ctrl: Scores | None,
    crc: Scores | None,
    settings: Sequence[dict[str, float]],
    *,
    preset: str = "corrected",
    ability: Scores | None = None,
) -> Iterator[tuple[GeneralRule, NeuronSet]]:
    """`select_general` for many settings (each a dict of t_mlp, t_attn, r, r_ability), each pool ranked once.

    Raises:
        UsageError: as `select_general`.
    """
    scores = present(neur=neur, ctrl=ctrl, crc=crc, ability=ability)
    check_together(**scores)
    method = method_of(neur)
    own = {"t_mlp": method.share} if method.share is not None else {}
    rules = [make_rule(GeneralRule, preset, own | dict(setting)) for setting in settings]
    ranked: dict[int, Any] = {}
    for number, (pool, _) in enumerate(pools(neur, GeneralRule())):
        difference = general_difference(pool, neur, ctrl, preset)
        order = top_ranked(difference, pool.size)
        surface, plain = (_surface_ranks(pool, each, ctrl) for each in (crc, ability))
        ranked[number] = (pool, difference, order, surface, plain)
    for rule in rules:
        chosen: dict[Neuron, float] = {}
        for number, (_, share) in enumerate(pools(neur, rule)):
            pool, difference, order, surface, plain = ranked[number]
            taken = order[: floor_count(share, pool.size)]
            kept = taken[surface[taken] >= floor_count(rule.r, pool.size)]
            kept = kept[plain[kept] >= floor_count(rule.r_ability, pool.size)]
            chosen |= {pool.neuron(position): float(difference[position]) for position in kept}
        yield (
            rule,
            NeuronSet(
                chosen,
                model_name=neur.meta["model"],
                provenance=provenance(rule, "culture-general", **used(method, scores)),
                expert_widths=neur.meta.get("expert_widths"),
            ),
        )


def _surface_ranks(pool: Pool, scores: Scores | None, ctrl: Scores | None) -> np.ndarray:
    """Rank of each neuron by what selection removes; beyond all where there is nothing to remove by."""
    if scores is None or not (method := method_of(scores)).uses_surface:
        return np.full(pool.size, pool.size)
    values = pool.flat(method.surface_rank(scores, ctrl))
    return np.where(np.isnan(values), pool.size, _ranks(np.nan_to_num(values, nan=-np.inf)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, 0 for the largest; ties go to the lower position."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks
