"""`mmlu`: MMLU, test: questions of exams in 57 subjects, four options.

It reads the original <subject>_test.csv of github.com/hendrycks/test, which have no header (question, four options,
letter), and the rows of hub cais/mmlu, config all: `question`, `subject`, `choices` and `answer` (0 to 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, distinct, numbered, texts
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table
from culnig.data.tables import Row

LETTERS = "ABCD"
COLUMNS = ("question", *LETTERS, "answer")


class Mmlu(Parted):
    """Knowledge of 57 subjects; see docs/benchmarks.md."""

    name = folder = "mmlu"
    description = "MMLU, test: 57 subjects, 4 options, ability"
    source = "MMLU (Hendrycks et al. 2021), MIT; hub cais/mmlu"
    splits = ABILITY
    tables: ClassVar = {
        "rows": Table(
            "<subject>_test.csv",
            ("*_test.csv", "all/test*.parquet", "test*.parquet"),
            "cais/mmlu",
            "all",
            several=True,
            columns=COLUMNS,
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in numbered(map(_with_subject, source.rows("rows"))):
            hub = "choices" in row.values
            options = texts(row, "choices", 4) if hub else tuple(row.text(letter) for letter in LETTERS)
            if distinct(options, source):
                yield Item(
                    id=f"{row.table}/{number}",
                    benchmark=self.name,
                    country="none",
                    question=row.text("question"),
                    options=options,
                    answer=row.label("answer", {str(index) if hub else LETTERS[index]: index for index in range(4)}),
                    topic=row.table,
                )


BENCHMARKS.register("mmlu")(Mmlu())


def _with_subject(row: Row) -> Row:
    """Return the row under the name of its subject, which the original files have in their names alone."""
    subject = row.text("subject") if "subject" in row.values else row.table.removesuffix("_test")
    return Row(row.where, subject, row.values)
