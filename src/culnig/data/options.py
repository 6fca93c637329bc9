"""Read this project's own YAML data, and draw wrong options from it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any


@cache
def read_yaml(name: str) -> Any:
    """Parse `embedded/<name>`; the files ship with the package."""
    import yaml

    text = (resources.files("culnig.benchmarks") / "embedded" / name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def normalise(answer: str) -> str:
    """Reduce an answer to its identity: case, articles, punctuation and plural -s do not count."""
    words = re.sub(r"[^a-z0-9 ]+", " ", answer.casefold().replace("'", "")).split()
    return " ".join(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words if w not in {"a", "an", "the"})


def overlap(a: str, b: str) -> bool:
    """Return whether two answers are the same, or one contains the other as whole words."""
    a, b = f" {normalise(a)} ", f" {normalise(b)} "
    return a in b or b in a


def wrong_pool(entity: str, accepted: Sequence[str], golds: Mapping[str, str], kin: Collection[str]) -> list[str]:
    """Return other entities' golds that may serve as wrong options: not accepted here, and not from kin."""
    others = (gold for other, gold in golds.items() if other != entity and other not in kin)
    return [gold for gold in dict.fromkeys(others) if not any(overlap(gold, right) for right in accepted)]


def draw_wrong(pool: Sequence[str], number: int, rng: random.Random) -> list[str]:
    """Draw at most `number` answers from the pool, no two of which overlap."""
    chosen: list[str] = []
    for candidate in rng.sample(pool, len(pool)):
        if len(chosen) < number and not any(overlap(candidate, other) for other in chosen):
            chosen.append(candidate)
    return chosen


def place(gold: str, wrong: Sequence[str], position: int, rng: random.Random) -> tuple[tuple[str, ...], int]:
    """Return the options, the wrong ones shuffled and the gold one at `position` (mod their number), and its index."""
    options = list(wrong)
    rng.shuffle(options)
    answer = position % (len(options) + 1)
    options.insert(answer, gold)
    return tuple(options), answer


def first_half(groups: Sequence[Hashable]) -> list[bool]:
    """Return for each row, in the order given, whether it is in the first half of its group (rounded down)."""
    sizes, seen = Counter(groups), Counter[Hashable]()
    inside = []
    for group in groups:
        inside.append(seen[group] < sizes[group] // 2)
        seen[group] += 1
    return inside
