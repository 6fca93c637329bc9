"""Overlap of sets, and what chance gives."""

from __future__ import annotations


def chance_jaccard(m: int, n: int, size: int) -> float:
    """Jaccard of random sets of m and n among `size` neurons, at the expected overlap m n / size: mn / (size (m + n) - mn)."""
    return m * n / (size * (m + n) - m * n) if m and n else float(m == n)
