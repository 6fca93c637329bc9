"""`everyday`: this project's own questions about everyday culture, in BLEnD's six topics.

Each question is asked of up to 24 countries and regions.  An item offers one country's gold answer and three other
countries' gold answers to the same question.  None of these three is accepted for the country itself.  Several draws
offer different wrong options.  Topics are split as in the paper: neurons are identified on Food, Work life and Sport,
and tested on Education, Family and Holidays/Celebration/Leisure.

`sealed` has other questions on the topics of `test`.  They are for the last comparison alone: no model has answered them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import draw_wrong, place, read_yaml, wrong_pool

FILES = {
    "neur": ("food", "work_life", "sport"),
    "test": ("education", "family", "holidays"),
    "sealed": ("sealed/education", "sealed/family", "sealed/holidays"),
}
DRAWS = 3
WRONG = 3


class Everyday:
    """Everyday culture of 24 countries and regions; see docs/data-card.md."""

    description = "everyday culture: food, work, sport / education, family, holidays; 24 countries"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("neur", "Food, Work life, Sport: to identify neurons"),
        Split("ctrl", "the items of `neur` without the question: control"),
        Split("test", "Education, Family, Holidays/Celebration/Leisure: to evaluate"),
        Split("sealed", "other questions on the topics of `test`: opened once, see docs/looked-at.md"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        control = split == "ctrl"
        files = FILES["neur" if control else split]
        return [item for name in files for item in _items(read_yaml(f"everyday/{name}.yaml"), control, seed)]


BENCHMARKS.register("everyday")(Everyday())


def _items(data: dict[str, Any], control: bool, seed: int) -> Iterator[Item]:
    for question in data["questions"]:
        golds = {country: answers[0] for country, answers in question["answers"].items()}
        for number, (country, accepted) in enumerate(question["answers"].items()):
            place_name = resolve(country)
            pool = wrong_pool(country, accepted, golds, place_name.kin)
            for draw in range(DRAWS):
                rng = random.Random(f"{seed}/{question['id']}/{country}/{draw}")
                wrong = draw_wrong(pool, WRONG, rng)
                if len(wrong) < WRONG:
                    continue
                options, answer = place(accepted[0], wrong, number + draw, rng)
                yield Item(
                    id=f"{question['id']}/{country}/{draw}",
                    benchmark="everyday",
                    country=place_name.name,
                    question="" if control else question["question"].format(country=place_name.phrase),
                    options=options,
                    answer=answer,
                    topic=data["topic"],
                    variant=str(draw),
                    control=control,
                )
