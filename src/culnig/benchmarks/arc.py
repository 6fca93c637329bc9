"""`arc_easy` and `arc_challenge`: questions of natural science from school exams, three to five options.

They read the original ARC-Easy-Test.jsonl and ARC-Challenge-Test.jsonl (`id`, `question` with `stem` and `choices`,
`answerKey`) and the rows of hub allenai/ai2_arc (`id`, `question`, `choices` as two lists, `answerKey`).
Labels are letters in most rows and digits in the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, distinct, has_answer, labelled_choices, unnested
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table, unique


class Arc(Parted):
    """Base of both parts of ARC; see docs/benchmarks.md."""

    splits = ABILITY
    source = "ARC (Clark et al. 2018), CC BY-SA 4.0; hub allenai/ai2_arc"

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for row in map(unnested, unique(source.rows("rows"), "id")):
            labels, options = labelled_choices(row)
            if has_answer(row, "answerKey", source) and distinct(options, source):
                yield Item(
                    id=row.text("id"),
                    benchmark=self.name,
                    country="none",
                    question=row.text("question"),
                    options=options,
                    answer=row.label("answerKey", {label: index for index, label in enumerate(labels)}),
                )


def _table(part: str) -> Table:
    files = (f"{part}-Test.jsonl", f"{part}/test*.parquet", "test*.parquet")
    return Table(f"{part}-Test.jsonl", files, "allenai/ai2_arc", part)


class ArcEasy(Arc):
    """The questions that simple methods answer."""

    name = folder = "arc_easy"
    description = "ARC-Easy, test: natural science at school, 3 to 5 options, ability"
    tables: ClassVar = {"rows": _table("ARC-Easy")}


class ArcChallenge(Arc):
    """The questions that simple methods get wrong."""

    name = folder = "arc_challenge"
    description = "ARC-Challenge, test: the harder questions, ability"
    tables: ClassVar = {"rows": _table("ARC-Challenge")}


BENCHMARKS.register("arc_easy")(ArcEasy())
BENCHMARKS.register("arc_challenge")(ArcChallenge())
