"""Match two groups one to one on a number, so that they can be compared from equal starting values."""

from __future__ import annotations

import bisect

import numpy as np

CALIPER = 0.2
"""Largest distance within a pair, in standard deviations of both groups together (Austin 2011)."""


def nearest_pairs(
    a: np.ndarray, b: np.ndarray, *, caliper: float = CALIPER, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pair members of a with the nearest members of b, one to one, in random order (greedy, without replacement).

    Args:
        a, b: the number that each member is matched on, [A] and [B].
        caliper: largest distance in standard deviations; a member without a free partner within it stays unpaired.
        seed: seed of the order.

    Returns:
        Indices into a and into b, [pairs] each, in a's order.
    """
    spread = float(np.std(np.concatenate([a, b]))) if len(a) + len(b) else 0.0
    order = sorted(range(len(b)), key=lambda j: (b[j], j))
    free_values, free = [float(b[j]) for j in order], order
    pairs: list[tuple[int, int]] = []
    for i in np.random.default_rng(seed).permutation(len(a)):
        at = bisect.bisect_left(free_values, float(a[i]))
        near = [place for place in (at - 1, at) if 0 <= place < len(free)]
        if not near:
            continue
        best = min(near, key=lambda place: abs(free_values[place] - a[i]))
        if abs(free_values[best] - a[i]) <= caliper * spread:
            pairs.append((int(i), free.pop(best)))
            free_values.pop(best)
    pairs.sort()
    return np.array([i for i, _ in pairs], dtype=int), np.array([j for _, j in pairs], dtype=int)
