"""`culturalbench`: CulturalBench-Easy, four options, 45 countries.

In about half of the published rows the gold answer has position A.  Options are therefore listed in an order drawn for
each item and wording.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import first_half
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row

LETTERS = "abcd"


class CulturalBench(External):
    """Questions about the culture of 45 countries; see docs/benchmarks.md."""

    name = folder = "culturalbench"
    description = "CulturalBench-Easy: culture of 45 countries, 4 options"
    source = "CulturalBench (Chiu et al. 2024), CC BY 4.0; hub kellycyy/CulturalBench"
    splits = (
        Split("all", "every row: to evaluate", default=True),
        Split("neur", "first half of each country's rows: to identify neurons"),
        Split("ctrl", "the items of `neur` without the question: control"),
        Split("test", "second half of each country's rows: to evaluate where `neur` was used"),
    )
    tables: ClassVar = {
        "rows": Table(
            "CulturalBench-Easy.csv",
            ("CulturalBench-Easy.csv", "CulturalBench-Easy/**/*.parquet", "*Easy*.parquet"),
            "kellycyy/CulturalBench",
            "CulturalBench-Easy",
        )
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        rows = list(unique(source.rows("rows"), "data_idx"))
        countries = [row.country("country") for row in rows]
        for row, country, first in zip(rows, countries, first_half(countries), strict=True):
            item = _item(row, country, split == "ctrl")
            if split != "all" and first == (split == "test"):
                source.account.leave_out("the other half")
            else:
                yield item


BENCHMARKS.register("culturalbench")(CulturalBench())


def _item(row: Row, country: str, control: bool) -> Item:
    return Item(
        id=row.text("data_idx"),
        benchmark="culturalbench",
        country=country,
        question="" if control else row.text("prompt_question"),
        options=tuple(row.text(f"prompt_option_{letter}") for letter in LETTERS),
        answer=row.label("answer", {letter.upper(): index for index, letter in enumerate(LETTERS)}),
        control=control,
        template="culturalbench",
        shuffle=True,
    )
