"""`country_rc`: a passage names a country, and the question asks which one; no cultural knowledge is needed.

Neurons that score high here react to country names as such; selection removes them (METHOD sections 4 and 5).
"""

from __future__ import annotations

import random

from culnig.data.countries import TARGETS, resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import place, read_yaml


class CountryRC:
    """Country reading comprehension: 56 templates x the paper's 8 countries."""

    description = "country reading comprehension: the surface control; 8 countries"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("neur", "first half of the passages: to remove neurons that react to country names"),
        Split("test", "second half: to check that reading survives suppression"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        templates = read_yaml("country_rc.yaml")["templates"]
        half = len(templates) // 2
        items = []
        for number, template in enumerate(templates[:half] if split == "neur" else templates[half:]):
            for index, country in enumerate(TARGETS):
                rng = random.Random(f"{seed}/{template['id']}/{country}")
                wrong = rng.sample([other for other in TARGETS if other != country], 3)
                phrases = [resolve(name).phrase for name in wrong]
                options, answer = place(resolve(country).phrase, phrases, number + index, rng)
                passage = template["passage"].replace("{country}", resolve(country).phrase)
                items.append(
                    Item(
                        id=f"{template['id']}/{country}",
                        benchmark="country_rc",
                        country=country,
                        question=f"{passage.replace('{dummy}', phrases[0])}\n{template['question']}",
                        options=options,
                        answer=answer,
                        topic="dummy" if template["dummy"] else "plain",
                        template="passage",
                    )
                )
        return items


BENCHMARKS.register("country_rc")(CountryRC())
