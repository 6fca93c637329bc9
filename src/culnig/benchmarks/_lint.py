"""Linting items: what would make a score or an accuracy mean something else than it seems to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from culnig.benchmarks._base import BENCHMARKS, Item
from culnig.benchmarks._embedded import overlap
from culnig.benchmarks._load import load_items
from culnig.countries import find

MANY = 5
"""Problems of one kind that are listed one by one; the rest are counted."""


class Problem(NamedTuple):
    """Something wrong: where, what, and whether it is an error (else a warning)."""

    where: str
    what: str
    error: bool


def lint(name: str, *, seed: int = 0) -> list[Problem]:
    """Check a benchmark's splits, one split, or an item file.

    Raises:
        UsageError, DataError: as `load_items`.
    """
    benchmark = BENCHMARKS.find(name)
    if benchmark is None:
        return lint_items(load_items(name, seed=seed), name)
    splits = {split.name: benchmark.load(split.name, seed=seed) for split in benchmark.splits}
    problems = [p for split, items in splits.items() for p in lint_items(items, f"{name}:{split}")]
    if "neur" in splits and "ctrl" in splits:
        problems += lint_control(splits["neur"], splits["ctrl"], name)
    return problems


def lint_items(items: list[Item], where: str) -> list[Problem]:
    """Check items by themselves, then as a set."""
    found: dict[str, list[Problem]] = {}
    for item in items:
        for kind, what, error in _item_problems(item):
            found.setdefault(kind, []).append(Problem(f"{where} {item.id}", what, error))
    problems = []
    for kind, several in found.items():
        problems += several[:MANY]
        if len(several) > MANY:
            problems.append(Problem(where, f"{kind}: {len(several) - MANY} more", several[0].error))
    return problems + list(_set_problems(items, where))


def _item_problems(item: Item) -> Iterator[tuple[str, str, bool]]:
    if len(item.options) < 2 or item.answer < 0:
        return
    for i, a in enumerate(item.options):
        for b in item.options[i + 1 :]:
            if a.casefold().strip() == b.casefold().strip():
                yield "doubled options", f"the option {a!r} stands twice", True
            elif item.template == "question" and item.benchmark != "general" and overlap(a, b):
                gold = item.gold in (a, b)
                what = f"options overlap: {a!r} and {b!r}" + (": another option is also right" if gold else "")
                yield "overlapping options", what, gold
    country = find(item.country)
    if country and item.template == "question":
        words = item.gold.casefold()
        if any(stem in words.split() or words.startswith(stem) or f" {stem}" in words for stem in country.stems):
            yield "give-aways", f"the answer {item.gold!r} names the country", True


def _set_problems(items: list[Item], where: str) -> Iterator[Problem]:
    doubled = [key for key, n in Counter((i.benchmark, i.id) for i in items).items() if n > 1]
    if doubled:
        yield Problem(where, f"{len(doubled)} ids stand more than once, {doubled[0][1]!r} the first", True)
    rows = [item for item in items if len(item.options) > 1 and item.answer >= 0]
    if len(rows) < 20:
        return
    positions = Counter(item.answer for item in rows)
    width = max(len(item.options) for item in rows)
    if all(len(item.options) == width for item in rows):
        expected = len(rows) / width
        worst = max(range(width), key=lambda p: abs(positions[p] - expected))
        # Four standard deviations of a fair draw, and at least a tenth off.
        slack = max(0.1 * expected, 4 * np.sqrt(expected * (1 - 1 / width)))
        if abs(positions[worst] - expected) > slack:
            yield Problem(where, f"the answer is in position {worst} {positions[worst]} times of {len(rows)}", True)
    longest = np.mean([len(i.gold) > max(len(o) for o in i.options if o != i.gold) for i in rows])
    shortest = np.mean([len(i.gold) < min(len(o) for o in i.options if o != i.gold) for i in rows])
    for share, what in ((longest, "longest"), (shortest, "shortest")):
        if share > 1.6 / width:
            yield Problem(where, f"the answer is the {what} option in {share:.0%} of the items", False)
    counts = Counter(item.country for item in items)
    if len(counts) > 1 and min(counts.values()) * 2 < max(counts.values()):
        few, many = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
        yield Problem(where, f"unequal items a country: {few} {counts[few]}, {many} {counts[many]}", False)


def lint_control(neur: list[Item], ctrl: list[Item], where: str) -> list[Problem]:
    """Check that a control is its items without the question, and nothing else."""
    problems = []
    if len(neur) != len(ctrl):
        problems.append(Problem(where, f"{len(neur)} items but {len(ctrl)} controls", True))
    for real, control in zip(neur, ctrl, strict=False):
        same = (real.country, real.options, real.answer) == (control.country, control.options, control.answer)
        if not same or real.template != control.template or (real.prompt is None) != (control.prompt is None):
            problems.append(
                Problem(f"{where} {control.id}", "the control has other options or another prompt policy", True)
            )
        elif control.prompt is None and control.question:
            problems.append(Problem(f"{where} {control.id}", "the control still has its question", True))
        elif not control.control:
            problems.append(Problem(f"{where} {control.id}", "the control is not marked `control`", True))
        if len(problems) > MANY:
            break
    return problems
