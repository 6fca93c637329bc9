"""Overlap of sets, and its expected value for random sets."""

from __future__ import annotations


def chance_jaccard(m: int, n: int, size: int) -> float:
    """Return the expected Jaccard index of random sets of m and n among `size` neurons.

    It is mn / (size (m + n) - mn), from the expected overlap m n / size.
    """
    return m * n / (size * (m + n) - m * n) if m and n else float(m == n)
