"""Culture-specific neurons: high on one country's items, against its controls and against the other countries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from culnig.attribution import Scores
from culnig.data.countries import TARGETS, canonical
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection.general import used
from culnig.selection.pools import (
    Pool,
    check_together,
    floor_count,
    group_divisor,
    method_of,
    present,
    provenance,
    top_ranked,
)
from culnig.selection.rules import SpecificRule, make_rule


def select_specific(
    neur: Scores,
    ctrl: Scores | None,
    crc: Scores | None,
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
        t, r, z: thresholds; None is the preset's (0.003, 0.01, 0.5), t a method's own if it has one.

    Returns:
        Country -> its neurons, best first; each row also carries D for all countries under `scores`.

    Raises:
        UsageError: scores that do not belong together, a country they do not have, a threshold out of range.
    """
    scores = present(neur=neur, ctrl=ctrl, crc=crc)
    check_together(**scores)
    method = method_of(neur)
    rule = make_rule(SpecificRule, preset, {"t": t if t is not None else method.share, "r": r, "z": z})
    if ctrl is not None and neur.groups != ctrl.groups:
        raise UsageError(
            f"the neur scores are of {neur.groups}, the ctrl scores of {ctrl.groups}; score the same items"
        )
    pool = Pool(neur, MLP_POOL + ATTENTION_POOL)
    difference = group_difference(pool, neur, ctrl, rule.preset)
    z_scores = None if method.compares_groups else standardise(difference)
    made = {
        "model_name": neur.meta["model"],
        "dataset_ids": neur.meta["item_ids"] | (crc.meta["item_ids"] if crc else {}),
        "expert_widths": neur.meta.get("expert_widths"),
    }
    origin = provenance(rule, "culture-specific", **used(method, scores))
    sets = {}
    for country in _targets(countries, neur, crc):
        c = neur.groups.index(country)
        # Where the method's rule compares groups by itself, the share is that of all groups' neurons together.
        rank = difference[c] if z_scores is not None else difference.max(axis=0)
        taken = top_ranked(rank, floor_count(rule.t, pool.size))
        if crc is not None and method.uses_surface:
            surface = pool.flat(method.surface_rank(crc, ctrl, country))
            taken = taken[~np.isin(taken, top_ranked(surface, floor_count(rule.r, pool.size)))]
        kept = taken[np.isfinite(difference[c][taken]) if z_scores is None else z_scores[c][taken] >= rule.z]
        found, extra = _rows(kept, pool, difference, c, neur.groups)
        sets[country] = NeuronSet(found, extra=extra, provenance=origin | {"country": country}, **made)
    return sets


def group_difference(pool: Pool, neur: Scores, ctrl: Scores | None, preset: str) -> np.ndarray:
    """What a group's neurons are ranked by, float64 [G, pool size]: D_c = S_c(neur) - S_c(ctrl), or the method's own."""
    method = method_of(neur)
    control = ctrl if method.uses_control else None
    return pool.flat(method.culture_specific_rank(neur, control, lambda scores: group_divisor(scores, preset)))


def standardise(difference: np.ndarray) -> np.ndarray:
    """z over the groups (axis 0, population standard deviation); 0 where the deviation is 0.  [G, pool size]"""
    deviation = difference.std(axis=0)
    centred = difference - difference.mean(axis=0)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)


def _targets(countries: Iterable[str] | None, neur: Scores, crc: Scores | None) -> list[str]:
    both = [group for group in neur.groups if crc is None or group in crc.groups]
    if countries is None:
        return [group for group in both if group in TARGETS] or both
    wanted = [canonical(country) for country in countries]
    for country in wanted:
        if country not in both:
            raise UsageError(f"no scores of '{country}' in both neur and crc; they share: {', '.join(both) or 'none'}")
    return wanted


def _rows(
    kept: np.ndarray, pool: Pool, difference: np.ndarray, c: int, groups: list[str]
) -> tuple[dict[Neuron, float], dict[Neuron, dict[str, Any]]]:
    """Neuron -> its score, and neuron -> its score for every group."""
    scores: dict[Neuron, float] = {}
    extra: dict[Neuron, dict[str, Any]] = {}
    for position in kept:
        neuron = pool.neuron(position)
        scores[neuron] = float(difference[c, position])
        known = {g: float(d) for g, d in zip(groups, difference[:, position], strict=True) if np.isfinite(d)}
        extra[neuron] = {"scores": known}
    return scores, extra
