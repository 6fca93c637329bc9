"""`hellaswag`: HellaSwag, validation: how does it go on?  Four endings of a text.

It reads the original hellaswag_val.jsonl of github.com/rowanz/hellaswag and the rows of hub Rowan/hellaswag, whose
columns are the same: `ind`, `activity_label`, `ctx`, `endings`, `source_id`, `split_type`, and `label` (a number in the
one, a text in the other; empty in the test set).  WikiHow's marks in brackets are taken out of the texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, distinct, has_answer, numbered, texts
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table
from culnig.data.tables import Row


class HellaSwag(Parted):
    """Endings of everyday texts; see docs/benchmarks.md."""

    name = folder = "hellaswag"
    description = "HellaSwag, validation: how a text goes on, 4 endings, ability"
    source = "HellaSwag (Zellers et al. 2019), MIT; hub Rowan/hellaswag"
    splits = ABILITY
    tables: ClassVar = {
        "rows": Table(
            "hellaswag_val.jsonl",
            ("hellaswag_val.jsonl", "validation*.parquet"),
            "Rowan/hellaswag",
            split="validation",
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in numbered(source.rows("rows")):
            options = tuple(map(_plain, texts(row, "endings", 4)))
            if has_answer(row, "label", source) and distinct(options, source):
                yield _item(row, number, options)


BENCHMARKS.register("hellaswag")(HellaSwag())


def _item(row: Row, number: int, options: tuple[str, ...]) -> Item:
    return Item(
        id=f"{row.text('ind')}/{number}",
        benchmark="hellaswag",
        country="none",
        question=_plain(f"{row.text('activity_label')}: {row.text('ctx')}"),
        options=options,
        answer=row.label("label", {str(index): index for index in range(4)}),
        topic=row.text("source_id").partition("~")[0],
        template="continuation",
    )


def _plain(text: str) -> str:
    """Return the text without WikiHow's marks, such as [header]."""
    return " ".join(re.sub(r"\[(?:header|title|step|substeps)\]", " ", text).split())
