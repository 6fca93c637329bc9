"""`load_items`: a benchmark's name or an item file -> items."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from culnig.benchmarks._base import BENCHMARKS, Item
from culnig.benchmarks._files import read_items
from culnig.countries import canonical, resolve
from culnig.errors import UsageError


def load_items(
    source: str | Path,
    *,
    countries: Iterable[str] | None = None,
    limit_per_country: int | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> list[Item]:
    """Load items.

    Args:
        source: `benchmark:split` (`everyday:test`), or a JSON Lines file of items.
        countries: keep these countries' items only.
        limit_per_country: at most so many items a country: a seeded sample, kept in the order of the source.
        draws: keep so many option draws of each question (benchmarks with several draws).
        seed: seed of option draws and of the sample.

    Raises:
        UsageError: no such benchmark, split, file or country, or a limit below 1.
        DataError: a broken item file.
    """
    if limit_per_country is not None and limit_per_country < 1:
        raise UsageError(f"the limit per country must be at least 1, not {limit_per_country}")
    items = _from_source(str(source), seed)
    if draws is not None:
        items = [item for item in items if not item.variant.isdigit() or int(item.variant) < draws]
    if countries is not None:
        items = _of_countries(items, countries, str(source))
    if limit_per_country is not None:
        items = _sample(items, limit_per_country, seed)
    return items


def _from_source(source: str, seed: int) -> list[Item]:
    name, _, split = source.partition(":")
    benchmark = BENCHMARKS.find(name)
    if benchmark is None:
        path = Path(source)
        if path.exists() or path.suffix in {".jsonl", ".json"} or "/" in source:
            return read_items(path)
        raise UsageError(
            f"no benchmark and no file named '{source}'; benchmarks: {', '.join(BENCHMARKS.names())}"
            " (see `culnig data list`); an item file ends in .jsonl"
        )
    splits = [s.name for s in benchmark.splits]
    if not split:
        split = next((s.name for s in benchmark.splits if s.default), "")
    if split not in splits:
        wrong = f"has no split '{split}'" if split else "has several splits"
        raise UsageError(f"benchmark '{name}' {wrong}; say {' or '.join(f'{name}:{s}' for s in splits)}")
    return benchmark.load(split, seed=seed)


def _of_countries(items: list[Item], countries: Iterable[str], source: str) -> list[Item]:
    present = {item.country for item in items}
    wanted = []
    for spelling in countries:
        name = canonical(spelling)
        if name not in present:
            resolve(spelling)  # a spelling nobody knows gets its own message
            raise UsageError(f"{source} has no items of {name}; it has: {', '.join(sorted(present))}")
        wanted.append(name)
    return [item for item in items if item.country in set(wanted)]


def _sample(items: list[Item], limit: int, seed: int) -> list[Item]:
    by_country: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        by_country.setdefault(item.country, []).append(position)
    keep: set[int] = set()
    for country, positions in by_country.items():
        rng = random.Random(f"{seed}/{country}")
        keep.update(positions if len(positions) <= limit else rng.sample(positions, limit))
    return [item for position, item in enumerate(items) if position in keep]
