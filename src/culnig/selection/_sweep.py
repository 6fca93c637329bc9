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
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    settings: Sequence[dict[str, float]],
    *,
    preset: str = "corrected",
    general: Scores | None = None,
) -> Iterator[tuple[GeneralRule, NeuronSet]]:
    """`select_general` for many settings (each a dict of t_mlp, t_attn, r, r_general), each pool ranked once.

    Raises:
        UsageError: as `select_general`.
    """
    scores = {"neur": neur, "ctrl": ctrl, "crc": crc} | ({"general": general} if general else {})
    check_together(**scores)
    rules = [make_rule(GeneralRule, preset, dict(setting)) for setting in settings]
    ranked = []
    for modules in (MLP_POOL, ATTENTION_POOL):
        pool = Pool(neur, modules)
        difference = general_difference(pool, neur, ctrl, preset)
        surface = _ranks(pool.flat(crc.total))
        # Without general items no neuron ranks high on them.
        plain = _ranks(pool.flat(general.total)) if general else np.full(pool.size, pool.size)
        ranked.append((pool, difference, np.argsort(-difference, kind="stable"), surface, plain))
    for rule in rules:
        chosen: dict[Neuron, float] = {}
        for (pool, difference, order, surface, plain), share in zip(ranked, (rule.t_mlp, rule.t_attn), strict=True):
            taken = order[: floor_count(share, pool.size)]
            kept = taken[surface[taken] >= floor_count(rule.r, pool.size)]
            kept = kept[plain[kept] >= floor_count(rule.r_general, pool.size)]
            chosen |= {pool.neuron(position): float(difference[position]) for position in kept}
        yield (
            rule,
            NeuronSet(
                chosen,
                model_name=neur.meta["model"],
                provenance=provenance(rule, "culture-general", **scores),
                expert_widths=neur.meta.get("expert_widths"),
            ),
        )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, 0 for the largest; ties go to the lower position."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks
