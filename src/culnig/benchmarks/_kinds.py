"""Make items of one kind from rows of our own data: a question, its gold answer, and the wrong ones."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from culnig.data.items import Item
from culnig.data.options import place


def kind_items(
    rows: Iterable[Sequence[object]],
    *,
    benchmark: str,
    topic: str,
    seed: int,
    name: str = "",
    template: str = "question",
) -> list[Item]:
    """Make an item of each row; the gold answers take the positions in turn, and the wrong ones are shuffled.

    Args:
        rows: question, gold answer and wrong answers.
        benchmark: the benchmark's name.
        topic: the kind.
        seed: seed of the order of the wrong answers.
        name: beginning of the ids, if one kind has several splits; the topic if empty.
        template: the prompt template.
    """
    name = name or topic
    items = []
    for number, (question, gold, *wrong) in enumerate(rows):
        rng = random.Random(f"{seed}/{name}/{number}")
        options, answer = place(str(gold), [str(w) for w in wrong], number, rng)
        items.append(
            Item(
                id=f"{name}/{number:02d}",
                benchmark=benchmark,
                country="none",
                question=str(question),
                options=options,
                answer=answer,
                topic=topic,
                template=template,
            )
        )
    return items
