"""`culturalbench`: CulturalBench-Easy, four options, 45 countries.

In about half of the published rows the gold answer has position A.  Options are therefore listed in an order drawn for
each item and wording.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import Parted
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table, unique

LETTERS = "abcd"


class CulturalBench(Parted):
    """Questions about the culture of 45 countries; see docs/benchmarks.md."""

    name = folder = "culturalbench"
    description = "CulturalBench-Easy: culture of 45 countries, 4 options"
    source = "CulturalBench (Chiu et al. 2024), CC BY 4.0; hub kellycyy/CulturalBench"
    tables: ClassVar = {
        "rows": Table(
            "CulturalBench-Easy.csv",
            ("CulturalBench-Easy.csv", "CulturalBench-Easy/**/*.parquet", "*Easy*.parquet"),
            "kellycyy/CulturalBench",
            "CulturalBench-Easy",
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for row in list(unique(source.rows("rows"), "data_idx")):  # a broken file is said before a broken row
            yield Item(
                id=row.text("data_idx"),
                benchmark=self.name,
                country=row.country("country"),
                question=row.text("prompt_question"),
                options=tuple(row.text(f"prompt_option_{letter}") for letter in LETTERS),
                answer=row.label("answer", {letter.upper(): index for index, letter in enumerate(LETTERS)}),
                template="culturalbench",
                shuffle=True,
            )


BENCHMARKS.register("culturalbench")(CulturalBench())
