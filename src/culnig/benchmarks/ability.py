"""`ability`: plain language ability (antonyms, inflection, typical uses, ...), nothing about a country or a custom.

`ability:dev` and the test split have different kinds of items.  Neurons can therefore be removed and thresholds chosen
on `dev` without the items of the test split.
"""

from __future__ import annotations

from culnig.benchmarks._kinds import kind_items
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import read_yaml


class Ability:
    """Ten kinds of plain language ability, 44 items each, to test; twelve other kinds to develop on."""

    description = "plain language ability: 10 kinds (antonyms, inflection, agreement, ...)"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("test", "ten kinds: to evaluate", default=True),
        Split("dev", "twelve other kinds: to remove neurons of plain language ability, to choose thresholds"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        items = []
        for kind in read_yaml("ability.yaml" if split == "test" else "ability_dev.yaml")["kinds"]:
            rows = [(kind["question"].replace("{x}", str(x)), *answers) for x, *answers in kind["items"]]
            items += kind_items(rows, benchmark="ability", topic=kind["kind"], seed=seed)
        return items


BENCHMARKS.register("ability")(Ability())
