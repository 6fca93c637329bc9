"""Frontiers: what a growing set takes from culture, against what it costs; the area under one, and the cost at equal effect."""

from __future__ import annotations

import numpy as np


def area(effect: np.ndarray, cost: np.ndarray, most: float) -> np.ndarray:
    """Return the mean, over budgets from 0 to `most`, of the largest effect that a set within the budget has.

    The empty set is within every budget, so no area is below 0.  A set without cost counts from a budget of 0 on.

    Args:
        effect, cost: [..., K], of K sets.
        most: the largest budget, above 0.

    Returns:
        [...], in units of the effect.
    """
    order = np.argsort(cost, axis=-1)
    starts = np.clip(np.take_along_axis(cost, order, axis=-1), 0.0, most)
    reached = np.maximum.accumulate(np.maximum(np.take_along_axis(effect, order, axis=-1), 0.0), axis=-1)
    ends = np.concatenate([starts[..., 1:], np.full_like(starts[..., :1], most)], axis=-1)
    return (reached * (ends - starts)).sum(axis=-1) / most


def cost_at(effect: np.ndarray, cost: np.ndarray, wanted: float | np.ndarray) -> np.ndarray:
    """Return the cost at which a growing set first has an effect, on straight lines between its sizes.

    Args:
        effect, cost: [..., K], of sets that grow along the last axis; before them stands the empty set, with 0 of both.
        wanted: the effect, one number or [...].

    Returns:
        [...]; NaN where no size has the effect, and 0 where the empty set has it.
    """
    wanted = np.broadcast_to(np.asarray(wanted, dtype=float), effect.shape[:-1])
    nothing = np.zeros_like(effect[..., :1])
    effect, cost = (np.concatenate([nothing, each], axis=-1) for each in (effect, cost))
    there = effect >= wanted[..., None]
    first = there.argmax(axis=-1)[..., None]
    before = np.maximum(first - 1, 0)
    (e0, e1), (c0, c1) = (
        [np.take_along_axis(each, at, axis=-1)[..., 0] for at in (before, first)] for each in (effect, cost)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found = c0 + (c1 - c0) * (wanted - e0) / (e1 - e0)
    found = np.where(wanted <= 0, 0.0, found)
    return np.where(there.any(axis=-1), found, np.nan)
