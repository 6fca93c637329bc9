"""Culture-general neurons: high on cultural items, not on their controls, not on country reading comprehension."""

from __future__ import annotations

import numpy as np

from culnig.attribution import Scores
from culnig.attribution.method import Method
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection.pools import (
    Pool,
    check_together,
    divisor,
    floor_count,
    method_of,
    present,
    provenance,
    top_ranked,
)
from culnig.selection.rules import GeneralRule, make_rule


def select_general(
    neur: Scores,
    ctrl: Scores | None,
    crc: Scores | None,
    *,
    preset: str = "corrected",
    t_mlp: float | None = None,
    t_attn: float | None = None,
    r: float | None = None,
    ability: Scores | None = None,
    r_ability: float | None = None,
) -> NeuronSet:
    """Select culture-general neurons (METHOD section 5).

    D = S(neur) - S(ctrl).  Within the MLP pool (gate) the top `t_mlp`, within the attention pool (q, k, v together) the
    top `t_attn` by D are taken (counts floored); those among the top `r` of their pool by S(crc) are removed.  If scores of
    ability items are given, so are those among the top `r_ability` by them (ours; not in the paper).  Other methods than
    culnig may rank otherwise (`Method.culture_general_rank`, `Method.surface_rank`); what a method has no use for is not looked at.

    Args:
        neur, ctrl, crc: scores of the cultural items, of their controls, and of country reading comprehension.  Without
            `ctrl` (None) the rank is S(neur), without `crc` nothing is removed for it.
        preset: "corrected", or "paper" with the published implementation's divisors.
        t_mlp, t_attn, r: shares; None is the preset's (0.01, 0.002, 0.01), t_mlp a method's own if it has one.
        ability: scores of items of plain language ability (`ability:dev`), or None.
        r_ability: share; None is 0.01.

    Returns:
        The MLP pool's neurons, best first, then the attention pool's.

    Raises:
        UsageError: scores that do not belong together, an unknown preset or a share out of range.
    """
    scores = present(neur=neur, ctrl=ctrl, crc=crc, ability=ability)
    check_together(**scores)
    method = method_of(neur)
    values = {"t_mlp": t_mlp if t_mlp is not None else method.share, "t_attn": t_attn, "r": r, "r_ability": r_ability}
    rule = make_rule(GeneralRule, preset, values)
    chosen: dict[Neuron, float] = {}
    for pool, share in pools(neur, rule):
        if share > 0:
            difference = general_difference(pool, neur, ctrl, rule.preset)
            taken = top_ranked(difference, floor_count(share, pool.size))
            kept = taken[~np.isin(taken, removed(pool, rule, crc, ability, ctrl))]
            chosen |= {pool.neuron(position): float(difference[position]) for position in kept}
    return NeuronSet(
        chosen,
        model_name=neur.meta["model"],
        dataset_ids=neur.meta["item_ids"] | (crc.meta["item_ids"] if crc else {}),
        provenance=provenance(rule, "culture-general", **used(method, scores)),
        expert_widths=neur.meta.get("expert_widths"),
    )


def pools(scores: Scores, rule: GeneralRule) -> list[tuple[Pool, float]]:
    """The MLP and the attention pool with the share that is taken of each; a method may score one of them only."""
    modules = scores.shapes()
    shares = ((MLP_POOL, rule.t_mlp), (ATTENTION_POOL, rule.t_attn))
    return [(Pool(scores, names), share) for names, share in shares if any(name in modules for name in names)]


def removed(
    pool: Pool, rule: GeneralRule, crc: Scores | None, ability: Scores | None, ctrl: Scores | None = None
) -> np.ndarray:
    """Positions of the pool that selection removes: top by country reading, and by ability items if there are any."""
    positions = np.empty(0, dtype=np.int64)
    for scores, share in ((crc, rule.r), (ability, rule.r_ability)):
        if scores is not None and (method := method_of(scores)).uses_surface:
            surface = pool.flat(method.surface_rank(scores, ctrl))
            positions = np.union1d(positions, top_ranked(surface, floor_count(share, pool.size)))
    return positions


def general_difference(pool: Pool, neur: Scores, ctrl: Scores | None, preset: str) -> np.ndarray:
    """What neurons are ranked by, [pool size]: D = S(neur) - S(ctrl), or the method's own."""
    method = method_of(neur)
    control = ctrl if method.uses_control else None
    return pool.flat(method.culture_general_rank(neur, control, lambda scores: divisor(scores, preset)))


def used(method: Method, scores: dict[str, Scores]) -> dict[str, Scores]:
    """The score files that the method's selection looks at."""
    idle = set() if method.uses_control else {"ctrl"}
    idle |= set() if method.uses_surface else {"crc", "ability"}
    return {name: each for name, each in scores.items() if name not in idle}
