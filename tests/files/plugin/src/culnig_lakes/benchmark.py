"""`lakes`: items in the words of the tests' tiny model."""

import random

from culnig.data import BENCHMARKS, Item, Split


class Lakes:
    """Forty made-up questions about two countries."""

    description = "made-up questions about lakes"
    source = "written for a test"
    splits = (
        Split("neur", "to find neurons"),
        Split("ctrl", "the same without the question"),
        Split("test", "to test"),
    )

    def load(self, split: str, *, seed: int) -> list[Item]:
        """Return the items of a split."""
        rng = random.Random(f"{seed}/{'test' if split == 'test' else 'neur'}")
        items = []
        for number in range(20):
            words = [f"w{rng.randrange(400)}" for _ in range(8)]
            question = "" if split == "ctrl" else " ".join(words[:4])
            options = tuple(dict.fromkeys(words[4:]))
            items.append(
                Item(
                    id=f"{split}-{number}",
                    benchmark="lakes",
                    country=("China", "Iran")[number % 2],
                    question=question,
                    options=options,
                    answer=number % len(options),
                    control=split == "ctrl",
                    template="lake",
                )
            )
        return items


BENCHMARKS.register("lakes")(Lakes())
