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


def prompt_weights(
    units: np.ndarray, controls: np.ndarray | None, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resample questions; return the weight of each prompt in every mean, [resamples, P] and [resamples, Q].

    An item and its control are of one question, and are drawn together.  Where controls are of other questions than
    the items, they are drawn apart.

    Args:
        units: [P], the question of each cultural prompt.
        controls: [Q], the question of each control prompt; None without controls.
        resamples: the number of resamples.
        rng: source of the resamples.
    """
    names, codes = np.unique(units, return_inverse=True)
    counts = _counts(len(names), resamples, rng)
    weights = _normalised(counts[:, codes])
    if controls is None:
        return weights, None
    other, other_codes = np.unique(controls, return_inverse=True)
    if not np.array_equal(names, other):
        counts = _counts(len(other), resamples, rng)
    return weights, _normalised(counts[:, other_codes])


def _counts(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples)


def _normalised(counts: np.ndarray) -> np.ndarray:
    return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn_within(strata: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Resample rows with replacement within their strata; return their positions, [resamples, n]."""
    draws = np.empty((resamples, len(strata)), dtype=np.intp)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws[:, members] = members[rng.integers(len(members), size=(resamples, len(members)))]
    return draws
