"""The paper's way to halve a benchmark that has one part only: the first half of each group of rows finds neurons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def first_half(groups: Sequence[Hashable]) -> list[bool]:
    """For each row whether it is in the first half of its group (rounded down), in the order given."""
    sizes, seen = Counter(groups), Counter[Hashable]()
    inside = []
    for group in groups:
        inside.append(seen[group] < sizes[group] // 2)
        seen[group] += 1
    return inside
