"""Culture-general neurons: high on cultural items, not on their controls, not on country reading comprehension."""

from __future__ import annotations

import numpy as np

from culnig.attribution import Scores
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection._pools import Pool, check_together, divisor, floor_count, provenance, top
from culnig.selection._rules import GeneralRule, make_rule


def select_general(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    preset: str = "corrected",
    t_mlp: float | None = None,
    t_attn: float | None = None,
    r: float | None = None,
    general: Scores | None = None,
    r_general: float | None = None,
) -> NeuronSet:
    """Select culture-general neurons (METHOD section 5).

    D = S(neur) - S(ctrl).  Within the MLP pool (gate) the top `t_mlp`, within the attention pool (q, k, v together) the
    top `t_attn` by D are taken (counts floored); those among the top `r` of their pool by S(crc) are removed.  If scores of
    general items are given, so are those among the top `r_general` by them (ours; not in the paper).

    Args:
        neur, ctrl, crc: scores of the cultural items, of their controls, and of country reading comprehension.
        preset: "corrected", or "paper" with the published implementation's divisors.
        t_mlp, t_attn, r: shares; None is the preset's (0.01, 0.002, 0.01).
        general: scores of items of plain language ability (`general:dev`), or None.
        r_general: share; None is 0.01.

    Returns:
        The MLP pool's neurons, best first, then the attention pool's.

    Raises:
        UsageError: scores that do not belong together, an unknown preset or a share out of range.
    """
    rule = make_rule(GeneralRule, preset, {"t_mlp": t_mlp, "t_attn": t_attn, "r": r, "r_general": r_general})
    scores = {"neur": neur, "ctrl": ctrl, "crc": crc} | ({"general": general} if general else {})
    check_together(**scores)
    chosen: dict[Neuron, float] = {}
    for modules, share in ((MLP_POOL, rule.t_mlp), (ATTENTION_POOL, rule.t_attn)):
        if share > 0:
            pool = Pool(neur, modules)
            difference = general_difference(pool, neur, ctrl, rule.preset)
            taken = top(difference, floor_count(share, pool.size))
            kept = taken[~np.isin(taken, removed(pool, rule, crc, general))]
            chosen |= {pool.neuron(position): float(difference[position]) for position in kept}
    return NeuronSet(
        chosen,
        model_name=neur.meta["model"],
        dataset_ids=neur.meta["item_ids"] | crc.meta["item_ids"],
        provenance=provenance(rule, "culture-general", **scores),
        expert_widths=neur.meta.get("expert_widths"),
    )


def removed(pool: Pool, rule: GeneralRule, crc: Scores, general: Scores | None) -> np.ndarray:
    """Positions of the pool that selection removes: top by country reading, and by general items if there are any."""
    positions = top(pool.flat(crc.total), floor_count(rule.r, pool.size))
    if general is None:
        return positions
    return np.union1d(positions, top(pool.flat(general.total), floor_count(rule.r_general, pool.size)))


def general_difference(pool: Pool, neur: Scores, ctrl: Scores, preset: str) -> np.ndarray:
    """D = S(neur) - S(ctrl), [pool size]."""
    return pool.flat(neur.total) / divisor(neur, preset) - pool.flat(ctrl.total) / divisor(ctrl, preset)
