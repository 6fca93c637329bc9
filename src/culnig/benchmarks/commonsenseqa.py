"""`commonsenseqa`: CommonsenseQA, five options; its validation set tests general ability, and it has no countries.

It reads the hub's flat rows and the nested rows of the original JSON Lines file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import labelled_choices, unnested
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row


class CommonsenseQA(External):
    """General commonsense; see docs/benchmarks.md."""

    name = folder = "commonsenseqa"
    description = "CommonsenseQA, validation: 5 options, general ability"
    source = "CommonsenseQA (Talmor et al. 2019), MIT; hub tau/commonsense_qa"
    splits = (
        Split("validation", "every row", default=True),
        Split("distinct", "the rows with five different options: for cf, where an option cannot stand twice"),
    )
    tables: ClassVar = {
        "rows": Table(
            "dev_rand_split.jsonl",
            ("dev_rand_split.jsonl", "*validation*.parquet"),
            "tau/commonsense_qa",
            split="validation",
        )
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        for row in unique(source.rows("rows"), "id"):
            item = _item(row, self.name)
            if split == "distinct" and len(set(item.options)) < len(item.options):
                source.account.leave_out("an option stands twice")
            else:
                yield item


BENCHMARKS.register("commonsenseqa")(CommonsenseQA())


class CommonsenseQATrain(CommonsenseQA):
    """General commonsense, to fine-tune on."""

    name = "commonsenseqa_train"
    description = "CommonsenseQA, train: the same to fine-tune on"
    splits = (
        Split("all", "every row: to fine-tune on", default=True),
        Split("distinct", "the rows with five different options: for cf, where an option cannot stand twice"),
    )
    tables: ClassVar = {
        "rows": Table(
            "train_rand_split.jsonl",
            ("train_rand_split.jsonl", "*train*.parquet"),
            "tau/commonsense_qa",
            split="train",
        )
    }


BENCHMARKS.register("commonsenseqa_train")(CommonsenseQATrain())


def _item(row: Row, benchmark: str) -> Item:
    row = unnested(row)
    labels, options = labelled_choices(row, 5)
    return Item(
        id=row.text("id"),
        benchmark=benchmark,
        country="none",
        question=row.text("question"),
        options=options,
        answer=row.label("answerKey", {label: index for index, label in enumerate(labels)}),
        template="commonsenseqa",
    )
