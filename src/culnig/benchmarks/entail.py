"""`entail`: what a passage says and what it does not say.  A task for fine-tuning that is not about culture.

A passage binds two things to two others.  The question names one of the latter and asks which thing goes with it, or
which does not.  Both candidates are in the passage, so a bag of words cannot tell them apart.  A small model chooses
the bound one whatever the question asks, and is near chance over both kinds of question.  `test` has other frames and
words than `train`.  `dev` has others again, so that settings can be chosen without looking at `test`.
"""

from __future__ import annotations

import random
from typing import Any

from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import place, read_yaml

SIZES = {"train": 104, "dev": 64, "test": 48}
"""Items of each frame."""


class Entail:
    """Passages with questions; the kind of question, the right answer and its position are balanced in every frame."""

    description = "what a passage says of two things, and what not: a task to fine-tune on"
    source = "embedded; written for this project, Apache-2.0"
    splits = (
        Split("train", "16 frames: to fine-tune on"),
        Split("dev", "4 other frames, other words: to choose settings on"),
        Split("test", "10 other frames, other words: to evaluate"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        data = read_yaml("entail.yaml")
        words = {kind: lists.get(split, []) for kind, lists in data["words"].items()}
        items = [item for frame in data["frames"][split] for item in _items(frame, words, SIZES[split], seed)]
        random.Random(f"{seed}/{split}").shuffle(items)
        return items


BENCHMARKS.register("entail")(Entail())


def _items(frame: dict[str, Any], words: dict[str, list[str]], number: int, seed: int) -> list[Item]:
    rng = random.Random(f"{seed}/{frame['id']}")
    items: dict[str, Item] = {}
    while len(items) < number:
        i = len(items)
        kind, second, position = ("is", "not")[i % 2], i // 2 % 2 == 1, i // 4
        (a, b), (p, q) = rng.sample(words[frame["x"]], 2), rng.sample(words[frame["y"]], 2)
        question = f"{frame['passage']}\n{frame[kind]}".format(a=a, b=b, p=p, q=q, y=q if second else p)
        gold, wrong = (b, a) if second == (kind == "is") else (a, b)
        options, answer = place(gold, [wrong], position, rng)
        item = Item(
            id=f"{frame['id']}/{i:03d}",
            benchmark="entail",
            country="none",
            question=question,
            options=options,
            answer=answer,
            topic=kind,
            template="passage",
        )
        items.setdefault(question, item)
    return list(items.values())
