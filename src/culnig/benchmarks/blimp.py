"""`blimp`: BLiMP, pairs of an English sentence and the same with a grammatical error: which is more probable?

It reads the original <paradigm>.jsonl of github.com/alexwarstadt/blimp, and the rows of hub nyu-mll/blimp, one config a
paradigm.  Columns used are `sentence_good`, `sentence_bad`, `UID` (the paradigm) and `pairID`, `pair_id` on the hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, asked, distinct
from culnig.benchmarks._sentences import sentence_item
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import ALL_CONFIGS, Source, Table
from culnig.data.tables import Row
from culnig.errors import DataError


class Blimp(Parted):
    """Grammar of English, 67 paradigms; see docs/benchmarks.md."""

    name = folder = "blimp"
    description = "BLiMP: grammar of English, pairs of sentences by their probability, 67 paradigms, ability"
    source = "BLiMP (Warstadt et al. 2020), CC BY 4.0; hub nyu-mll/blimp"
    splits = asked(ABILITY)
    tables: ClassVar = {
        "rows": Table("<paradigm>.jsonl", ("*.jsonl", "*.parquet"), "nyu-mll/blimp", ALL_CONFIGS, "train", several=True)
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        seen: dict[str, str] = {}
        for number, row in enumerate(source.rows("rows")):
            name = f"{row.text('UID')}/{row.text('pairID' if 'pairID' in row.values else 'pair_id')}"
            if name in seen:
                raise DataError(f"{row.where}: the pair {name} occurs twice; first at {seen[name]}")
            seen[name] = row.where
            pair = (row.text("sentence_good"), row.text("sentence_bad"))
            if distinct(pair, source):
                yield _item(row, name, pair if number % 2 == 0 else pair[::-1], form)


BENCHMARKS.register("blimp")(Blimp())


def _item(row: Row, name: str, options: tuple[str, ...], form: str) -> Item:
    answer = options.index(row.text("sentence_good"))
    item = Item(name, "blimp", "none", options=options, answer=answer, topic=row.text("UID"))
    return sentence_item(item, form, "Which sentence is correct English?")
