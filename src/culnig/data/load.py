"""`load_items`: read items from a benchmark, from a user's own data set, or from an item file."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from culnig.data.countries import BLEND, TARGETS, canonical, find, resolve
from culnig.data.item_files import read_items
from culnig.data.item_stream import ItemStream, open_items
from culnig.data.items import BENCHMARKS, Benchmark, Item, ItemList
from culnig.data.sources import External
from culnig.data.user_data import read_user_benchmark
from culnig.errors import OldNameWarning, UsageError
from culnig.settings import Settings


def load_items(
    source: str | Path,
    *,
    countries: str | Iterable[str] | None = None,
    topics: Iterable[str] | None = None,
    limit_per_country: int | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> list[Item]:
    """Load items.

    Args:
        source: a benchmark (`everyday:test`), a user's own data set (`my.yaml:neur`), or a JSON Lines file of items.
            Rows that are not in this package may need a place (`blend:test@/data/blend`, `blend:test@owner/name`).
        countries: keep only the items of these countries; "blend" is BLEnD's sixteen, "targets" the paper's eight, "all" all.
        topics: keep only the items of these topics.
        limit_per_country: the largest number of items a country: a seeded sample, kept in the order of the source.
        draws: how many option draws of each question to keep (for benchmarks with several draws).
        seed: seed of the option draws and of the sample.

    Raises:
        UsageError: the benchmark, split, place, file or country does not exist, or a limit is below 1.
        FetchError: the rows cannot be found; the message says how to get them.
        DataError: a file is broken; the message gives file, row and reason.

    Returns:
        Items; if they were made from external rows, an `ItemList` with an account of the rows left out.
    """
    found = _load(read_items, str(source), countries, topics, limit_per_country, draws, seed)
    return found if isinstance(found, list) else list(found)


def stream_items(
    source: str | Path,
    *,
    countries: str | Iterable[str] | None = None,
    topics: Iterable[str] | None = None,
    limit_per_country: int | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> Sequence[Item]:
    """Load items as `load_items` does, with the same arguments and errors, but leave those of a large item file there.

    Returns:
        An `ItemStream` for an item file of more than 8,192 rows, else what `load_items` returns.
    """
    return _load(open_items, str(source), countries, topics, limit_per_country, draws, seed)


def _load(
    read: Callable[[Path | str], Sequence[Item]],
    source: str,
    countries: str | Iterable[str] | None,
    topics: Iterable[str] | None,
    limit_per_country: int | None,
    draws: int | None,
    seed: int,
) -> Sequence[Item]:
    """Return the items that are asked for; `read` opens an item file, and `load_items` says the rest."""
    items = _from_source(_renamed(source), seed, read)
    account = getattr(items, "account", None)
    if limit_per_country is not None and limit_per_country < 1:
        raise UsageError(f"the limit per country must be at least 1, not {limit_per_country}")
    if draws is not None:
        items = _where(items, lambda _, item: not item.variant.isdigit() or int(item.variant) < draws)
    if countries is not None:
        items = _of_countries(items, [countries] if isinstance(countries, str) else countries, source)
    if topics is not None:
        items = _of_topics(items, topics, source)
    if limit_per_country is not None:
        items = _sample(items, limit_per_country, seed)
    return items if account is None else ItemList(items, account)


def _where(items: Sequence[Item], keep: Callable[[int, Item], bool]) -> Sequence[Item]:
    """Return the items of which `keep(number, item)` is true."""
    if isinstance(items, ItemStream):
        return items.where(keep)
    return [item for number, item in enumerate(items) if keep(number, item)]


COUNTRY_LISTS = {"blend": BLEND, "targets": TARGETS}
"""Name of a list -> its countries; `all` keeps every item."""

OLD_BENCHMARKS = {"general": "ability"}
"""Old name of a benchmark -> its present one."""


class Name(NamedTuple):
    """The parts of `name:split@place`; for a file, `name` is the whole text."""

    name: str
    split: str
    place: str | None


def parse_name(source: str) -> Name:
    """Split `benchmark:split@place` or `file.yaml:split` into its parts; keep any other file name whole."""
    if match := re.fullmatch(r"(.+\.ya?ml)(?::([^/]*))?", source):
        return Name(match[1], match[2] or "", None)
    match = re.fullmatch(r"([^:@/]+)(?::([^:@/]*))?(?:@(.+))?", source)
    if match and BENCHMARKS.find(match[1]):
        return Name(match[1], match[2] or "", match[3])
    return Name(source, "", None)


def current_name(source: str) -> str:
    """Return the name with its benchmark's present name: `general:dev` becomes `ability:dev`."""
    if BENCHMARKS.find(re.split("[:@]", source, maxsplit=1)[0]):
        return source
    for old, new in OLD_BENCHMARKS.items():
        if re.fullmatch(rf"{old}([:@].*)?", source):
            return new + source[len(old) :]
    return source


def with_place(source: str, places: Mapping[str, str]) -> str:
    """Return the name with its benchmark's place added, unless it already has one."""
    name = parse_name(source)
    place = places.get(name.name)
    return f"{source}@{place}" if place and name.place is None else source


def find_benchmark(name: Name) -> Benchmark | None:
    """Return the benchmark of that name, or the user's own one in a YAML file; None for an item file."""
    if re.fullmatch(r".+\.ya?ml", name.name):
        return read_user_benchmark(name.name)
    return BENCHMARKS.find(name.name)


def _renamed(source: str) -> str:
    """Replace the old name of a benchmark and warn about it; leave a file of that name alone."""
    new = source if Path(source).exists() else current_name(source)
    if new != source:
        warnings.warn(f"the benchmark {source} is {new} now", OldNameWarning, stacklevel=3)
    return new


def _from_source(source: str, seed: int, read: Callable[[Path], Sequence[Item]]) -> Sequence[Item]:
    name = parse_name(source)
    benchmark = find_benchmark(name)
    if benchmark is None:
        path = Path(source)
        if path.exists() or path.suffix in {".jsonl", ".json"} or "/" in source:
            return read(path)
        raise UsageError(
            f"no benchmark and no file named '{source}'; benchmarks: {', '.join(BENCHMARKS.names())}{BENCHMARKS.left_out()}"
            " (see `culnig data list`); an item file ends in .jsonl, a data set of your own in .yaml"
        )
    splits = [s.name for s in benchmark.splits]
    split = name.split or next((s.name for s in benchmark.splits if s.default), "")
    if split not in splits:
        wrong = f"has no split '{split}'" if split else "has several splits"
        raise UsageError(f"benchmark '{name.name}' {wrong}; say {' or '.join(f'{name.name}:{s}' for s in splits)}")
    if name.place is None:
        return benchmark.load(split, seed=seed)
    if not isinstance(benchmark, External):
        raise UsageError(f"'{name.name}' comes with culnig and takes no place; say {name.name}:{split}")
    return benchmark.load(split, seed=seed, place=name.place)


def _of_countries(items: Sequence[Item], countries: Iterable[str], source: str) -> Sequence[Item]:
    present = {item.country for item in items}
    wanted = set()
    spelled = [name for each in countries for name in COUNTRY_LISTS.get(each, (each,))]
    if "all" in spelled:
        return items
    for spelling in spelled:
        name = spelling if spelling in present else canonical(spelling)
        known = find(spelling)
        if name not in present and known is not None:
            name = known.name  # `us` could name a language as a group, but there is no such group here
        if name not in present:
            if any(find(group) and canonical(group) == group for group in present):
                name = resolve(spelling).name  # an unknown spelling raises its own message
            raise UsageError(f"{source} has no items of {name}; it has: {', '.join(sorted(present))}")
        wanted.add(name)
    return _where(items, lambda _, item: item.country in wanted)


def _of_topics(items: Sequence[Item], topics: Iterable[str], source: str) -> Sequence[Item]:
    present, wanted = {item.topic for item in items}, set(topics)
    if missing := sorted(wanted - present):
        have = ", ".join(sorted(topic for topic in present if topic)) or "no topics"
        raise UsageError(f"{source} has no topic {missing[0]!r}; it has: {have}")
    return _where(items, lambda _, item: item.topic in wanted)


def _sample(items: Sequence[Item], limit: int, seed: int) -> Sequence[Item]:
    by_country: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        by_country.setdefault(item.country, []).append(position)
    keep: set[int] = set()
    for country, positions in by_country.items():
        rng = random.Random(f"{seed}/{country}")
        keep.update(positions if len(positions) <= limit else rng.sample(positions, limit))
    return _where(items, lambda position, _: position in keep)


class DataConfig(Settings):
    """A set of items, or a fixed part of it."""

    items: str = Field(description="benchmark:split or benchmark:split@place, your own.yaml:split, or an item file")
    countries: list[str] | Literal["all", "blend", "targets"] = Field(
        "all", description="names, or blend (BLEnD's sixteen), or targets (the paper's eight)"
    )
    limit_per_country: int | None = Field(None, ge=1, description="a seeded sample of so many items a country")
    draws: int | None = Field(None, ge=1, description="option draws of each question")
    topics: list[str] | None = Field(None, description="these topics only; null is all")

    def load(self, seed: int, sources: Mapping[str, str] | None = None) -> list[Item]:
        """Return the items; `sources` gives the places of the benchmarks' rows."""
        return load_items(
            with_place(self.items, sources or {}),
            countries=self.countries,
            topics=self.topics,
            limit_per_country=self.limit_per_country,
            draws=self.draws,
            seed=seed,
        )
