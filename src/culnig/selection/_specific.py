"""Culture-specific neurons: high on one country's items, against its controls and against the other countries."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from culnig.attribution import Scores
from culnig.countries import TARGETS, canonical
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection._pools import Pool, check_together, divisor, floor_count, provenance, top
from culnig.selection._rules import SpecificRule, make_rule


def select_specific(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    countries: Iterable[str] | None = None,
    preset: str = "corrected",
    t: float | None = None,
    r: float | None = None,
    z: float | None = None,
) -> dict[str, NeuronSet]:
    """Select culture-specific neurons of each country (METHOD section 5).

    One pool (gate, q, k, v together).  D_c = S_c(neur) - S_c(ctrl); the top `t` by D_c are taken, the top `r` by S_c(crc)
    removed, and kept are those whose z = (D_c - mean) / std over all countries is at least `z` (0 where std is 0).

    Args:
        neur, ctrl, crc: as for `select_general`.
        countries: for which; None is the paper's eight targets that all three scores have.
        preset: "corrected" (a country's sum over its own prompts), or "paper" (over the number of all items).
        t, r, z: thresholds; None is the preset's (0.003, 0.01, 0.5).

    Returns:
        Country -> its neurons, best first; each row also carries D for all countries under `scores`.

    Raises:
        UsageError: scores that do not belong together, a country they do not have, a threshold out of range.
    """
    rule = make_rule(SpecificRule, preset, {"t": t, "r": r, "z": z})
    check_together(neur=neur, ctrl=ctrl, crc=crc)
    if neur.groups != ctrl.groups:
        raise UsageError(
            f"the neur scores are of {neur.groups}, the ctrl scores of {ctrl.groups}; score the same items"
        )
    pool = Pool(neur, MLP_POOL + ATTENTION_POOL)
    difference = group_difference(pool, neur, ctrl, rule.preset)
    z_scores = standardise(difference)
    sets = {}
    for country in _targets(countries, neur, crc):
        c = neur.groups.index(country)
        taken = top(difference[c], floor_count(rule.t, pool.size))
        surface = pool.flat(crc.of_group(country))
        removed = top(surface, floor_count(rule.r, pool.size))
        kept = taken[~np.isin(taken, removed) & (z_scores[c][taken] >= rule.z)]
        sets[country] = _neuron_set(country, kept, pool, difference, neur, ctrl, crc, rule)
    return sets


def group_difference(pool: Pool, neur: Scores, ctrl: Scores, preset: str) -> np.ndarray:
    """D_c = S_c(neur) - S_c(ctrl) of every group, float64 [G, pool size]."""

    def mean(scores: Scores) -> np.ndarray:
        by = np.full(len(scores.groups), divisor(scores, preset)) if preset == "paper" else scores.count
        return pool.flat(lambda module: scores.sums[scores.method, module].astype(np.float64)) / by[:, None]

    return mean(neur) - mean(ctrl)


def standardise(difference: np.ndarray) -> np.ndarray:
    """z over the groups (axis 0, population standard deviation); 0 where the deviation is 0.  [G, pool size]"""
    deviation = difference.std(axis=0)
    centred = difference - difference.mean(axis=0)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)


def _targets(countries: Iterable[str] | None, neur: Scores, crc: Scores) -> list[str]:
    both = [group for group in neur.groups if group in crc.groups]
    if countries is None:
        return [group for group in both if group in TARGETS] or both
    wanted = [canonical(country) for country in countries]
    for country in wanted:
        if country not in both:
            raise UsageError(f"no scores of '{country}' in both neur and crc; they share: {', '.join(both) or 'none'}")
    return wanted


def _neuron_set(
    country: str,
    kept: np.ndarray,
    pool: Pool,
    difference: np.ndarray,
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    rule: SpecificRule,
) -> NeuronSet:
    c = neur.groups.index(country)
    scores: dict[Neuron, float] = {}
    extra = {}
    for position in kept:
        neuron = pool.neuron(position)
        scores[neuron] = float(difference[c, position])
        extra[neuron] = {"scores": dict(zip(neur.groups, map(float, difference[:, position]), strict=True))}
    return NeuronSet(
        scores,
        model_name=neur.meta["model"],
        dataset_ids=neur.meta["item_ids"] | crc.meta["item_ids"],
        provenance=provenance(rule, "culture-specific", neur=neur, ctrl=ctrl, crc=crc) | {"country": country},
        extra=extra,
        expert_widths=neur.meta.get("expert_widths"),
    )
