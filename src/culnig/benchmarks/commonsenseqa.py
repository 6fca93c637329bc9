"""`commonsenseqa`: the validation set of CommonsenseQA, five options; it tests general ability and has no countries.

It reads the hub's flat rows and the nested rows of the original JSON Lines file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row
from culnig.errors import DataError


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
            item = _item(row)
            if split == "distinct" and len(set(item.options)) < len(item.options):
                source.account.leave_out("an option stands twice")
            else:
                yield item


BENCHMARKS.register("commonsenseqa")(CommonsenseQA())


def _item(row: Row) -> Item:
    nested = row.get("question")
    if isinstance(nested, Mapping):  # the original file
        row = Row(row.where, row.table, {**row.values, **nested, "question": nested.get("stem")})
    choices = row.get("choices")
    if isinstance(choices, Mapping):  # the hub: parallel lists
        pairs = list(zip(choices.get("label", ()), choices.get("text", ()), strict=False))
    else:
        pairs = [(choice.get("label"), choice.get("text")) for choice in choices or () if isinstance(choice, Mapping)]
    if len(pairs) != 5 or not all(label and str(text or "").strip() for label, text in pairs):
        raise DataError(f"{row.where}: 'choices' must hold five labels with their texts, not {choices!r}")
    return Item(
        id=row.text("id"),
        benchmark="commonsenseqa",
        country="none",
        question=row.text("question"),
        options=tuple(str(text).strip() for _, text in pairs),
        answer=row.label("answerKey", {str(label): index for index, (label, _) in enumerate(pairs)}),
        template="commonsenseqa",
    )
