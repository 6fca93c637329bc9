"""Check items for defects that would change the meaning of a score or an accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from culnig.data.countries import find
from culnig.data.items import Item
from culnig.data.load import find_benchmark, load_items, parse_name
from culnig.data.options import overlap
from culnig.data.sources import External
from culnig.data.tables import markup_in

MANY = 5
"""Number of problems of one kind that are listed one by one; the rest are counted."""
KNOWLEDGE = ("question", "blend")
"""Templates of questions with one right answer; only their items are checked for overlapping options and give-aways."""


class Problem(NamedTuple):
    """A problem: its place, its description, and whether it is an error (otherwise a warning)."""

    where: str
    what: str
    error: bool


def lint(name: str, *, seed: int = 0) -> list[Problem]:
    """Check a benchmark's splits, one split, or an item file.

    A defect of other people's published texts (an overlap of options, a give-away) is a warning, because it cannot be
    corrected here.  In our own data and in a user's data it is an error.

    Raises:
        UsageError, FetchError, DataError: as `load_items`.
    """
    parsed = parse_name(name)
    benchmark = find_benchmark(parsed)
    published = isinstance(benchmark, External)
    if benchmark is None or parsed.split:
        return _weighed(lint_items(load_items(name, seed=seed), name), published)
    at = f"@{parsed.place}" if parsed.place else ""
    names = [split.name for split in benchmark.splits]
    splits = {split: load_items(f"{parsed.name}:{split}{at}", seed=seed) for split in names}
    problems = [p for split, items in splits.items() for p in lint_items(items, f"{parsed.name}:{split}")]
    problems = _weighed(problems, published)
    for split in names:
        if split.endswith("ctrl"):
            real = split.replace("ctrl", "neur")
            problems += lint_control(
                splits[real if real in splits else names[0]], splits[split], f"{parsed.name}:{split}"
            )
    return problems


def _weighed(problems: list[Problem], published: bool) -> list[Problem]:
    return [p._replace(error=p.error and not published) for p in problems]


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
                yield "doubled options", f"the option {a!r} occurs twice", True
            elif item.template in KNOWLEDGE and item.benchmark != "ability" and overlap(a, b):
                gold = item.gold in (a, b)
                what = f"options overlap: {a!r} and {b!r}" + (": another option is also right" if gold else "")
                yield "overlapping options", what, gold
    if markup := next(filter(None, map(markup_in, (item.question, item.prompt or "", *item.options))), None):
        yield "HTML", f"holds HTML: {markup}", True
    country = find(item.country)
    if country and country.name == item.country and item.template in KNOWLEDGE:
        words = item.gold.casefold()
        if any(stem in words.split() or words.startswith(stem) or f" {stem}" in words for stem in country.stems):
            yield "give-aways", f"the answer {item.gold!r} names the country", True


def _set_problems(items: list[Item], where: str) -> Iterator[Problem]:
    doubled = [key for key, n in Counter((i.benchmark, i.id) for i in items).items() if n > 1]
    if doubled:
        yield Problem(where, f"{len(doubled)} ids occur more than once; the first is {doubled[0][1]!r}", True)
    rows = [item for item in items if len(item.options) > 1 and item.answer >= 0]
    if len(rows) < 20:
        return
    placed = not any(item.shuffle or item.scale for item in rows)
    positions = Counter(item.answer for item in rows)
    width = max(len(item.options) for item in rows)
    if placed and all(len(item.options) == width for item in rows):
        expected = len(rows) / width
        worst = max(range(width), key=lambda p: abs(positions[p] - expected))
        # The limit: four standard deviations of a fair draw, and at least a tenth of the expected number.
        slack = max(0.1 * expected, 4 * np.sqrt(expected * (1 - 1 / width)))
        if abs(positions[worst] - expected) > slack:
            yield Problem(where, f"the answer is in position {worst} in {positions[worst]} of {len(rows)} items", True)
    longest = np.mean([len(i.gold) > max(len(o) for o in i.options if o != i.gold) for i in rows])
    shortest = np.mean([len(i.gold) < min(len(o) for o in i.options if o != i.gold) for i in rows])
    for share, what in ((longest, "longest"), (shortest, "shortest")):
        if share > 1.6 / width:
            yield Problem(where, f"the answer is the {what} option in {share:.0%} of the items", False)
    counts = Counter(item.country for item in items)
    if len(counts) > 1 and min(counts.values()) * 2 < max(counts.values()):
        few, many = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
        yield Problem(where, f"unequal numbers of items: {few} has {counts[few]}, {many} has {counts[many]}", False)


def lint_control(neur: list[Item], ctrl: list[Item], where: str) -> list[Problem]:
    """Check that a control equals its items except for the question, which must be gone or changed."""
    problems = []
    if len(neur) != len(ctrl):
        problems.append(Problem(where, f"{len(neur)} items but {len(ctrl)} controls", True))
    for real, control in zip(neur, ctrl, strict=False):
        same = (real.country, real.options, real.answer) == (control.country, control.options, control.answer)
        if not same or real.template != control.template or (real.prompt is None) != (control.prompt is None):
            problems.append(
                Problem(f"{where} {control.id}", "the control has other options or another prompt policy", True)
            )
        elif control.prompt == real.prompt and control.question == real.question:
            problems.append(Problem(f"{where} {control.id}", "the control still has its question", True))
        elif not control.control:
            problems.append(Problem(f"{where} {control.id}", "the control is not marked `control`", True))
        if len(problems) > MANY:
            break
    return problems
