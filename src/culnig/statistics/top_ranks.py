"""The best k of many by an estimate and by an exact value: precision at k and regret, of a weighted sample too."""

from __future__ import annotations

import numpy as np


def weighted_top(values: np.ndarray, weights: np.ndarray, k: float) -> np.ndarray:
    """Return which entries make up the k largest by weight, [.., n]: 1, 0, or the share that fits at the edge.

    With weights of 1 these are the k largest values; ties go to the first.  With the inverse inclusion probabilities of
    a sample they estimate the k largest of the population.
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    ordered = np.take_along_axis(np.broadcast_to(weights, values.shape), order, axis=-1).astype(float)
    left = k - (np.cumsum(ordered, axis=-1) - ordered)
    taken = np.clip(np.divide(left, ordered, out=np.zeros_like(ordered), where=ordered > 0), 0.0, 1.0)
    found = np.empty_like(taken)
    np.put_along_axis(found, order, taken, axis=-1)
    return found


def precision_at(k: float, estimate: np.ndarray, exact: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of the k best by the estimate that are among the k best by the exact value, [..]."""
    both = np.minimum(weighted_top(estimate, weights, k), weighted_top(exact, weights, k))
    return np.minimum((weights * both).sum(axis=-1) / _reached(k, weights), 1.0)  # rounding can give more than 1


def regret_at(k: float, estimate: np.ndarray, exact: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the exact value that the k best by the estimate forgo, as a share of what the k best hold, [..].

    It is NaN where the k best hold nothing, or less.
    """
    best = (weights * weighted_top(exact, weights, k) * exact).sum(axis=-1)
    taken = (weights * weighted_top(estimate, weights, k) * exact).sum(axis=-1)
    return np.divide(best - taken, best, out=np.full(np.shape(best), np.nan), where=best > 0)[()]


def _reached(k: float, weights: np.ndarray) -> np.ndarray:
    """Return k, or the whole population where it is smaller."""
    return np.minimum(k, weights.sum(axis=-1))


def allocate(sizes: tuple[int, int], cap: int | None) -> tuple[int, int]:
    """Return how many of two strata to draw, `cap` together: two thirds of the first, more where the second is small."""
    first, second = sizes
    if cap is None or first + second <= cap:
        return sizes
    drawn = min(first, max(round(cap * 2 / 3), cap - second))
    return drawn, min(second, cap - drawn)


def left_out_weights(units: np.ndarray, controls: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the weight of each prompt in every mean when one question at a time is left out.

    An item and its control are of one question, and are left out together.  Where controls are of other questions than the
    items, they are of another kind, and the weights of one kind are even while questions of the other are left out.

    Args:
        units: [P], the question of each cultural prompt.
        controls: [Q], the question of each control prompt; None without controls.

    Returns:
        For each kind of question, the weights of the cultural prompts [questions, P] and of the controls [questions, Q].
    """
    names, own = _without_each(units)
    if controls is None:
        return [(own, None)]
    others, other = _without_each(controls)
    if np.array_equal(names, others):
        return [(own, other)]
    even, even_controls = (np.full((1, len(each)), 1 / len(each), np.float32) for each in (units, controls))
    return [
        (own, np.repeat(even_controls, len(names), axis=0)),
        (np.repeat(even, len(others), axis=0), other),
    ]


def _without_each(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the questions, and even weights over the prompts of all others, [questions, prompts]; one alone stays."""
    names, codes = np.unique(units, return_inverse=True)
    kept = np.arange(len(names))[:, None] != codes[None] if len(names) > 1 else np.ones((1, len(units)))
    return names, (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn_within(strata: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Resample rows with replacement within their strata; return their positions, [resamples, n]."""
    draws = np.empty((resamples, len(strata)), dtype=np.intp)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws[:, members] = members[rng.integers(len(members), size=(resamples, len(members)))]
    return draws
