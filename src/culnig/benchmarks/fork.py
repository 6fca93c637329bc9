"""`fork`: FORK, 184 questions about customs of food with two options, in English.

The schema is that of fork.jsonl and fork.csv of github.com/shramay-palta/FORK_ACL2023: `ID`, `Question`, `Option A`,
`Option B`, `Answer Key` (A or B), `Country`, `Type` and `Dimension`.  Some questions name no country (`Type`
Underspecified): their answer is the usual one in the country of the row, mostly the USA.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import Parted
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table, unique


class Fork(Parted):
    """Customs of food; see docs/benchmarks.md."""

    name = folder = "fork"
    description = "FORK: customs of food in 11 countries, 2 options"
    source = "FORK (Palta and Rudinger 2023), CC BY 4.0; github.com/shramay-palta/FORK_ACL2023"
    fetch = "take fork.jsonl from github.com/shramay-palta/FORK_ACL2023"
    tables: ClassVar = {"rows": Table("fork.jsonl", ("fork.jsonl", "fork.csv"))}

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for row in unique(source.rows("rows"), "ID"):
            yield Item(
                id=row.text("ID"),
                benchmark=self.name,
                country=row.country("Country"),
                question=row.text("Question"),
                options=(row.text("Option A"), row.text("Option B")),
                answer=row.label("Answer Key", {"A": 0, "B": 1}),
                topic=row.text("Dimension"),
                shuffle=True,
            )


BENCHMARKS.register("fork")(Fork())
