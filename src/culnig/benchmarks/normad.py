"""`normad`: NormAd-ETI, whether a person's behaviour in a story is acceptable in a country: yes, no or neutral.

The prompt gives the country, but neither the rule nor the background.  The control keeps the form of the question and
leaves country and story empty.  As in the paper, the first half of each country's and label's rows identifies neurons.
The three answers are listed in an order drawn for each item and wording.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import first_half
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row

LABELS = {"yes": 0, "no": 1, "neutral": 2}


class NormAd(External):
    """Social acceptability in about 75 countries; see docs/benchmarks.md."""

    name = folder = "normad"
    description = "NormAd: is it acceptable there? yes, no, neutral; about 75 countries"
    source = "NormAd (Rao et al. 2024), CC BY 4.0; hub akhilayerukola/NormAd"
    splits = (
        Split("all", "every row: to evaluate", default=True),
        Split("neur", "first half of each country's and label's rows: to identify neurons"),
        Split("ctrl", "the items of `neur` with country and story left empty: control"),
        Split("test", "second half: to evaluate where `neur` was used"),
    )
    tables: ClassVar = {
        "rows": Table(
            "normad_etiquette*.csv",
            ("normad*.csv", "train*.parquet", "*.parquet"),
            "akhilayerukola/NormAd",
            split="train",
        )
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        rows = list(unique(source.rows("rows"), "ID"))
        groups = [(row.country("Country"), row.label("Gold Label", LABELS)) for row in rows]
        for row, (country, answer), first in zip(rows, groups, first_half(groups), strict=True):
            item = _item(row, country, answer, split == "ctrl")
            if split != "all" and first == (split == "test"):
                source.account.leave_out("the other half")
            else:
                yield item


BENCHMARKS.register("normad")(NormAd())


def _item(row: Row, country: str, answer: int, control: bool) -> Item:
    place, story = ("", "") if control else (resolve(country).phrase, row.text("Story"))
    return Item(
        id=row.text("ID"),
        benchmark="normad",
        country=country,
        question=f"Country: {place}".rstrip() + "\n" + f"Story: {story}".rstrip(),
        options=tuple(LABELS),
        answer=answer,
        topic=row.text("Subaxis"),
        control=control,
        template="normad",
        shuffle=True,
    )
