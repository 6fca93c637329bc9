"""`winogrande`: WinoGrande, validation: which of two words belongs into a sentence's gap?

It reads the original dev.jsonl (`qID`, `sentence` with _ for the gap, `option1`, `option2`, `answer` 1 or 2) and the rows
of hub allenai/winogrande, config winogrande_xl, which have no qID.  The options are the whole sentences, each with one
of the words: the rest of the sentence shows which is right, and it stands behind the gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import ABILITY, Parted, asked, distinct, has_answer, numbered
from culnig.benchmarks._sentences import sentence_item
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table
from culnig.errors import DataError

GAP = "_"


class WinoGrande(Parted):
    """Reference in sentences; see docs/benchmarks.md."""

    name = folder = "winogrande"
    description = "WinoGrande, validation: which word fits the gap, by the probability of the sentence, ability"
    source = "WinoGrande (Sakaguchi et al. 2020), CC BY; hub allenai/winogrande, config winogrande_xl"
    splits = asked(ABILITY)
    tables: ClassVar = {
        "rows": Table(
            "dev.jsonl",
            ("dev.jsonl", "winogrande_xl/validation*.parquet", "validation*.parquet"),
            "allenai/winogrande",
            "winogrande_xl",
            "validation",
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in numbered(source.rows("rows")):
            sentence, words = row.text("sentence"), (row.text("option1"), row.text("option2"))
            if sentence.count(GAP) != 1:
                raise DataError(f"{row.where}: the sentence must have one gap {GAP!r}: {sentence!r}")
            if has_answer(row, "answer", source) and distinct(words, source):
                options = words if form == "asked" else tuple(sentence.replace(GAP, word) for word in words)
                answer = row.label("answer", {"1": 0, "2": 1})
                item = Item(str(number), self.name, "none", options=options, answer=answer)
                yield sentence_item(item, form, f"Which word belongs into the gap?\n{sentence}")


BENCHMARKS.register("winogrande")(WinoGrande())
