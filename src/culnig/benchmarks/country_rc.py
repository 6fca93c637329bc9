"""`country_rc`: a passage names a country, and the question asks which one; no cultural knowledge is needed.

Neurons that score high here react to country names as such; selection removes them (METHOD sections 4 and 5).
"""

from __future__ import annotations

import random
from typing import Any

from culnig.data.countries import BLEND, TARGETS, resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import place, read_yaml

WORDINGS = ("letters-1", "letters-2", "digits-1", "digits-2")
"""Wordings of the template `passage`, each of which has wrong options of its own in the `fifty-` splits."""
FIFTY = 25
"""Passages of a half in the `fifty-` splits, as in the paper; ten of them name a dummy country."""


class CountryRC:
    """Country reading comprehension: 56 templates x the paper's 8 countries."""

    description = "country reading comprehension: the surface control; 8 countries"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("neur", "first half of the passages: to remove neurons that react to country names"),
        Split("test", "second half: to check that reading survives suppression"),
        Split("fifty-neur", "the paper's design: 25 passages of `neur`, wrong options from BLEnD's 15 other countries"),
        Split("fifty-test", "25 passages of `test` in the same design"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        templates = read_yaml("country_rc.yaml")["templates"]
        half = len(templates) // 2
        part = templates[:half] if split.endswith("neur") else templates[half:]
        if split.startswith("fifty-"):
            return [
                _item(t, country, number, seed, wording)
                for country in TARGETS  # the published order, which decides the batches of `padded_zeros`
                for number, wording in enumerate(WORDINGS)
                for t in part[:FIFTY]
            ]
        return [_item(t, c, number + index, seed) for number, t in enumerate(part) for index, c in enumerate(TARGETS)]


def _item(template: dict[str, Any], country: str, number: int, seed: int, wording: str = "") -> Item:
    """Make an item; one of a single wording has options of its own, drawn from BLEnD's countries in any order."""
    key = f"{template['id']}/{country}" + (f"/{number}" if wording else "")
    rng = random.Random(f"{seed}/{key}")
    wrong = rng.sample([other for other in (BLEND if wording else TARGETS) if other != country], 3)
    phrases = [resolve(name).phrase for name in wrong]
    position = rng.randrange(4) if wording else number
    options, answer = place(resolve(country).phrase, phrases, position, rng)
    passage = template["passage"].replace("{country}", resolve(country).phrase)
    return Item(
        id=key,
        benchmark="country_rc",
        country=country,
        question=f"{passage.replace('{dummy}', phrases[0])}\n{template['question']}",
        options=options,
        answer=answer,
        topic="dummy" if template["dummy"] else "plain",
        variant=str(number) if wording else "",
        template=f"passage#{wording}" if wording else "passage",
    )


BENCHMARKS.register("country_rc")(CountryRC())
