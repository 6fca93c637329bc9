"""`school`: science, cause and effect, reading and arithmetic at primary-school level; no country and no custom.

It is harder than `ability`, on which a small model is near the ceiling; a loss is therefore visible here.
"""

from __future__ import annotations

from culnig.benchmarks._kinds import kind_items
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import read_yaml

KINDS = ("science", "cause", "reading", "arithmetic")


class School:
    """Four kinds, 80 items each to test and 40 others each to develop on."""

    description = "primary school: science, cause and effect, reading, arithmetic in words"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("test", "80 items of each kind: to evaluate", default=True),
        Split("dev", "40 other items of each kind: to remove neurons of ability, to choose thresholds"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        items = []
        for kind in KINDS:
            data = read_yaml(f"school/{kind}.yaml")
            name, template = f"{kind}-{split}", data["template"]
            items += kind_items(data[split], benchmark="school", topic=kind, seed=seed, name=name, template=template)
        return items


BENCHMARKS.register("school")(School())
