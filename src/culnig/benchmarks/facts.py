"""`facts`: knowledge other than culture, in the form of `everyday`.

`world` has facts about no country; `countries` has geography and codes of the countries of `everyday`.
A loss on culture can be compared with the loss of such plain recall.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import draw_wrong, place, read_yaml, wrong_pool

FILES = {
    "test": ("world", "countries"),
    "dev": ("world_dev", "countries_dev"),
    "world-dev": ("world_dev",),
    "countries-dev": ("countries_dev",),
}
WRONG = 3


class Facts:
    """Facts of no country, and facts of 24 countries and regions that are not culture; see docs/data-card.md."""

    description = "facts that are not culture: of the world, and of 24 countries (borders, rivers, codes, ...)"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("test", "to evaluate: what plain recall loses", default=True),
        Split("dev", "other questions: to protect plain recall, to choose settings"),
        Split("world-dev", "those of dev about no country"),
        Split("countries-dev", "those of dev about countries"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        return [item for name in FILES[split] for item in _items(read_yaml(f"facts/{name}.yaml"), seed)]


BENCHMARKS.register("facts")(Facts())


def _items(data: dict[str, Any], seed: int) -> Iterator[Item]:
    of_countries = data["kind"] == "countries"
    for question in data["questions"]:
        answers = question["answers"]
        golds = {entity: accepted[0] for entity, accepted in answers.items()}
        for number, (entity, accepted) in enumerate(answers.items()):
            country = resolve(entity) if of_countries else None
            rng = random.Random(f"{seed}/{question['id']}/{entity}")
            pool = wrong_pool(entity, accepted, golds, country.kin if country else ())
            options, answer = place(accepted[0], draw_wrong(pool, WRONG, rng), number, rng)
            yield Item(
                id=f"{question['id']}/{entity}",
                benchmark="facts",
                country=country.name if country else "none",
                question=question["question"].replace("{x}", country.phrase if country else entity),
                options=options,
                answer=answer,
                topic=data["kind"],
            )
