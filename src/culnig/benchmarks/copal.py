"""`copal`: COPAL-ID, causes and effects in everyday life in Indonesia; two options, in Indonesian.

The schema is that of test_copal.csv and test_copal_colloquial.csv of hub haryoaw/COPAL (config id): `premise`,
`choice1`, `choice2`, `question` (cause or effect), `idx`, `label` (0 is choice1) and the flags `Terminology`,
`Culture` and `Language`.  The same items are there in standard and in colloquial Indonesian.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import CULTURE, Parted
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import ALL_SPLITS, Source, Table, unique
from culnig.data.tables import Row

ASKED = {"cause": "Apa penyebabnya?", "effect": "Apa akibatnya?"}
FLAGS = ("Terminology", "Culture", "Language")


class Copal(Parted):
    """Causes and effects in Indonesia; see docs/benchmarks.md."""

    name = folder = "copal"
    description = "COPAL-ID: cause and effect with Indonesian terms, customs and idioms; 2 options"
    source = "COPAL-ID (Wibowo et al. 2024), CC BY-SA 4.0; hub haryoaw/COPAL"
    splits = (*CULTURE, Split("colloquial", "every row in colloquial Indonesian: to evaluate"))
    tables: ClassVar = {
        "rows": Table("test_copal*.csv", ("test_copal*.csv",), "haryoaw/COPAL", "id", ALL_SPLITS, several=True)
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        wanted = []
        for row in source.rows("rows"):
            if row.table.endswith("colloquial") == (form == "colloquial"):
                wanted.append(row)
            else:
                source.account.leave_out("the other variety of Indonesian")
        yield from map(_item, unique(wanted, "idx"))


BENCHMARKS.register("copal")(Copal())


def _item(row: Row) -> Item:
    asked = list(ASKED.values())[row.label("question", {kind: n for n, kind in enumerate(ASKED)})]
    return Item(
        id=row.text("idx"),
        benchmark="copal",
        country="Indonesia",
        question=f"{row.text('premise')}\n{asked}",
        options=(row.text("choice1"), row.text("choice2")),
        answer=row.label("label", {"0": 0, "1": 1}),
        topic="+".join(flag for flag in FLAGS if row.label(flag, {"0": 0, "1": 1})),
        shuffle=True,
    )
