"""`piqa`: PIQA, validation: how is it done?  Two ways to reach a goal.

It reads the original valid.jsonl or dev.jsonl (`goal`, `sol1`, `sol2`) with the labels beside it, a line a row, in
valid-labels.lst or dev-labels.lst, and the rows of hub ybisk/piqa, which have them in `label`.  0 is the first way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, distinct, has_answer, numbered
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table
from culnig.data.tables import Row, read_text
from culnig.errors import DataError


class Piqa(Parted):
    """Physical commonsense; see docs/benchmarks.md."""

    name = folder = "piqa"
    description = "PIQA, validation: which way works, 2 options, ability"
    source = "PIQA (Bisk et al. 2020), AFL-3.0; hub ybisk/piqa, original files at yonatanbisk.com/piqa"
    splits = ABILITY
    tables: ClassVar = {
        "rows": Table(
            "valid.jsonl with valid-labels.lst",
            ("valid.jsonl", "dev.jsonl", "*validation*.parquet", "*validation*/*.parquet"),
            "ybisk/piqa",
            split="validation",
        ),
        "labels": Table("valid-labels.lst", ("valid-labels.lst", "dev-labels.lst"), optional=True),
    }

    def how(self, table: Table) -> str:
        return f"{super().how(table)}, or take valid.jsonl and valid-labels.lst from yonatanbisk.com/piqa/data"

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in numbered(_labelled(source)):
            options = (row.text("sol1"), row.text("sol2"))
            if has_answer(row, "label", source) and distinct(options, source):
                yield Item(
                    id=str(number),
                    benchmark=self.name,
                    country="none",
                    question=row.text("goal"),
                    options=options,
                    answer=row.label("label", {"0": 0, "1": 1}),
                    shuffle=True,
                )


BENCHMARKS.register("piqa")(Piqa())


def _labelled(source: Source) -> Iterator[Row]:
    """Yield the rows with their labels, from the file of labels where they have none themselves."""
    rows = list(source.rows("rows"))
    if all("label" in row.values for row in rows):
        yield from rows
        return
    path = source.path("labels")
    labels = read_text(path).split()
    if len(labels) != len(rows):
        raise DataError(f"{path}: {len(labels)} labels for {len(rows)} rows; take both files from one place")
    for row, label in zip(rows, labels, strict=True):
        yield Row(row.where, row.table, {**row.values, "label": label})
