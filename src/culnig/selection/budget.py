"""Equal budgets: the same share of every module's neurons, or the size of a given set, whatever the method or the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.neurons import Neuron, NeuronSet
from culnig.selection.general import general_difference, pools, removed, used
from culnig.selection.pools import Pool, check_together, floor_count, method_of, present, provenance, top_ranked
from culnig.selection.rules import GeneralRule
from culnig.selection.stability import Selection, Stability, Weights, reselect


def select_at_budgets(
    neur: Scores,
    ctrl: Scores | None,
    crc: Scores | None,
    modules: Sequence[str],
    shares: Sequence[float],
    *,
    ability: Scores | None = None,
    rule: GeneralRule | None = None,
) -> list[NeuronSet]:
    """Culture-general neurons at equal budgets: of each module the best floor(share * its neurons), at least one.

    Neurons are ranked as `select_general` ranks them, within a module.  Those in the top `r` of their module by country
    reading (and `r_ability` by ability items) are taken out first and the next best step in, so that every method's
    set has the same size; it is smaller only where a method ranks fewer neurons.

    Args:
        neur, ctrl, crc, ability: as for `select_general`; of one method.
        modules: the modules to take neurons of.
        shares: budgets.
        rule: preset, r and r_ability; None is the default.

    Returns:
        A set a share; each holds the smaller ones.

    Raises:
        UsageError: as `select_general`, a module that the method has not scored, or a share outside 0 to 1.
    """
    scores = present(neur=neur, ctrl=ctrl, crc=crc, ability=ability)
    check_together(**scores)
    if bad := [share for share in shares if not 0 < share <= 1]:
        raise UsageError(f"a budget of {bad[0]:g} is no share; give more than 0 and at most 1")
    rule = rule or GeneralRule()
    method = method_of(neur)
    ranked = []
    for module in modules:
        pool = Pool(neur, (module,))
        difference = general_difference(pool, neur, ctrl, rule.preset)
        out = removed(pool, rule, crc, ability, ctrl)
        ranked.append((pool, difference, _best(difference, out, max(1, floor_count(max(shares), pool.size)))))
    sets = []
    for share in shares:
        chosen = {
            pool.neuron(position): float(difference[position])
            for pool, difference, order in ranked
            for position in order[: max(1, floor_count(share, pool.size))]
        }
        made = provenance(rule, f"{share:g} of each of {', '.join(modules)}", **used(method, scores))
        sets.append(
            NeuronSet(
                chosen,
                model_name=neur.meta["model"],
                provenance=made | {"budget": share},
                expert_widths=neur.meta.get("expert_widths"),
            )
        )
    return sets


def select_of_size(
    like: NeuronSet,
    neur: Scores,
    ctrl: Scores | None,
    crc: Scores | None,
    *,
    ability: Scores | None = None,
    rule: GeneralRule | None = None,
) -> NeuronSet:
    """Culture-general neurons: of the MLP and of the attention pool the best, as many as another set holds of it.

    As in `select_at_budgets`, the next best step in for neurons that are taken out.  For the rule and the scores that made
    `like`, this is `like`.

    Args:
        like: the set whose size is taken.
        neur, ctrl, crc, ability: as for `select_general`; of one method.
        rule: preset, r and r_ability; None is the default.

    Raises:
        UsageError: as `select_general`.
    """
    scores = present(neur=neur, ctrl=ctrl, crc=crc, ability=ability)
    check_together(**scores)
    rule = rule or GeneralRule()
    chosen: dict[Neuron, float] = {}
    for pool, _ in pools(neur, rule):
        count = sum(neuron.module in pool.shapes for neuron in like)
        difference = general_difference(pool, neur, ctrl, rule.preset)
        order = _best(difference, removed(pool, rule, crc, ability, ctrl), count)
        chosen |= {pool.neuron(position): float(difference[position]) for position in order}
    return NeuronSet(
        chosen,
        model_name=neur.meta["model"],
        provenance=provenance(rule, "culture-general, of a given size", **used(method_of(neur), scores)),
        expert_widths=neur.meta.get("expert_widths"),
    )


def _best(difference: np.ndarray, out: np.ndarray, count: int) -> np.ndarray:
    """Positions of the largest values, without those that are taken out."""
    kept = difference.astype(np.float64)
    kept[out] = -np.inf
    return top_ranked(kept, count)


def bootstrap_budget(
    parts: Mapping[str, Scores],
    modules: Sequence[str],
    share: float,
    *,
    rule: GeneralRule | None = None,
    resamples: int = 40,
    halves: int = 10,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Stability:
    """Select at an equal budget again from resampled blocks of items; as `bootstrap_general` does for its rule.

    Args:
        parts: neur, ctrl, crc and, if used, ability: scores of one method, with per-block sums.
        modules, share, rule: as for `select_at_budgets`.
        resamples, halves, seed, progress: as for `bootstrap_general`.

    Raises:
        UsageError: scores without per-block sums, or as `select_at_budgets`.
    """
    preset = (rule or GeneralRule()).preset

    def select(weights: Weights) -> Selection:
        drawn = {name: scores.of_blocks(weights[name]) for name, scores in parts.items()}
        neur, ctrl = drawn["neur"], drawn["ctrl"]
        [chosen] = select_at_budgets(
            neur, ctrl, drawn["crc"], modules, [share], ability=drawn.get("ability"), rule=rule
        )
        pools = {module: Pool(neur, (module,)) for module in modules}
        difference = {module: general_difference(pool, neur, ctrl, preset) for module, pool in pools.items()}
        return Selection(chosen, difference, pools)

    return reselect(select, parts, resamples=resamples, halves=halves, seed=seed, progress=progress)
