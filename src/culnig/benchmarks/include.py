"""`include`: INCLUDE, questions of local exams in 44 languages; four options.

The schema is that of hub CohereLabs/include-base-44, one config a language: `language`, `country`, `domain`, `subject`,
`regional_feature`, `level`, `question`, the options (`option_a` to `option_d`, or one list `choices` in the first
version) and `answer` (0 to 3).  Rows whose `regional_feature` says agnostic need no regional knowledge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import CULTURE, Parted, distinct, numbered, texts
from culnig.data.countries import canonical
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import ALL_CONFIGS, Source, Table
from culnig.data.tables import Row


class Include(Parted):
    """Regional knowledge in exams; see docs/benchmarks.md."""

    name = folder = "include"
    description = "INCLUDE: regional knowledge in exams, 44 languages, 4 options"
    source = "INCLUDE (Romanou et al. 2024), Apache-2.0; hub CohereLabs/include-base-44"
    splits = (*CULTURE, Split("agnostic", "the rows that need no regional knowledge: an ability that should stay"))
    tables: ClassVar = {
        "rows": Table(
            "the rows of the languages (*/test-*.parquet)",
            ("test*.parquet", "*.jsonl", "*.csv"),
            "CohereLabs/include-base-44",
            ALL_CONFIGS,
            several=True,
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for number, row in _by_language(source):
            agnostic = "agnostic" in row.text("regional_feature").lower()
            if agnostic != (form == "agnostic"):
                source.account.leave_out("regional" if form else "needs no regional knowledge")
                continue
            options = _options(row)
            if distinct(options, source):
                yield Item(
                    id=f"{row.text('language')}/{number}",
                    benchmark=self.name,
                    country=canonical(str(row.get("country") or "").strip() or "none"),
                    question=row.text("question"),
                    options=options,
                    answer=row.label("answer", {str(index): index for index in range(4)}),
                    topic=row.text("domain"),
                )


BENCHMARKS.register("include")(Include())


def _by_language(source: Source) -> Iterator[tuple[int, Row]]:
    """Yield the rows with their numbers within their language: the files of all languages have one name."""
    return numbered(Row(row.where, row.text("language"), row.values) for row in source.rows("rows"))


def _options(row: Row) -> tuple[str, ...]:
    if "choices" in row.values:
        return texts(row, "choices", 4)
    return tuple(row.text(f"option_{letter}") for letter in "abcd")
