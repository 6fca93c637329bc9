"""Sweeps over thresholds: many selections from one sorting, without scoring again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from culnig.attribution import Scores
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection._general import general_difference
from culnig.selection._pools import Pool, check_together, floor_count, provenance
from culnig.selection._rules import GeneralRule, make_rule


def sweep_general(
    neur: Scores, ctrl: Scores, crc: Scores, settings: Sequence[dict[str, float]], *, preset: str = "corrected"
) -> Iterator[tuple[GeneralRule, NeuronSet]]:
    """`select_general` for many settings (each a dict of t_mlp, t_attn, r), each pool ranked once.

    Raises:
        UsageError: as `select_general`.
    """
    check_together(neur=neur, ctrl=ctrl, crc=crc)
    rules = [make_rule(GeneralRule, preset, dict(setting)) for setting in settings]
    ranked = []
    for modules in (MLP_POOL, ATTENTION_POOL):
        pool = Pool(neur, modules)
        difference = general_difference(pool, neur, ctrl, preset)
        surface_rank = np.empty(pool.size, dtype=np.int64)
        surface_rank[np.argsort(-pool.flat(crc.total), kind="stable")] = np.arange(pool.size)
        ranked.append((pool, difference, np.argsort(-difference, kind="stable"), surface_rank))
    for rule in rules:
        chosen: dict[Neuron, float] = {}
        for (pool, difference, order, surface_rank), share in zip(ranked, (rule.t_mlp, rule.t_attn), strict=True):
            taken = order[: floor_count(share, pool.size)]
            kept = taken[surface_rank[taken] >= floor_count(rule.r, pool.size)]
            chosen |= {pool.neuron(position): float(difference[position]) for position in kept}
        yield (
            rule,
            NeuronSet(
                chosen,
                model_name=neur.meta["model"],
                provenance=provenance(rule, "culture-general", neur=neur, ctrl=ctrl, crc=crc),
            ),
        )
