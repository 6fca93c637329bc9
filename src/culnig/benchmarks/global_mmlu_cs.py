"""`global_mmlu_cs`: the culturally sensitive questions of Global-MMLU (label CS); four options.

The schema is that of hub CohereLabs/Global-MMLU and Global-MMLU-Lite, one config a language: `sample_id`, `subject`,
`subject_category`, `question`, `option_a` to `option_d`, `answer` (a letter), `culture`, `region` and `country` (lists
as text, such as "['India']"), and `cultural_sensitivity_label` (CS, CA for culturally agnostic, or - where nobody judged).
The hub's config here is English.  Another language is read from its file, named as the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import Parted, distinct
from culnig.data.countries import find
from culnig.data.items import BENCHMARKS, Item
from culnig.data.sources import Source, Table, unique
from culnig.data.tables import Row

LETTERS = "ABCD"
REASONS = {"CS": "", "CA": "culturally agnostic", "-": "nobody judged whether it is culturally sensitive"}
"""Label -> why its rows are left out."""


class GlobalMmluCs(Parted):
    """Questions of MMLU that need cultural knowledge; see docs/benchmarks.md."""

    name = folder = "global_mmlu_cs"
    description = "Global-MMLU, culturally sensitive questions: 4 options, English or your file of another language"
    source = "Global-MMLU (Singh et al. 2024), Apache-2.0; hub CohereLabs/Global-MMLU"
    tables: ClassVar = {
        "rows": Table(
            "the rows of one language (en/test-*.parquet)",
            ("en/test*.parquet", "test*.parquet", "*.jsonl", "*.csv"),
            "CohereLabs/Global-MMLU",
            "en",
        )
    }

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        for row in unique(source.rows("rows"), "sample_id"):
            labels = {label: number for number, label in enumerate(REASONS)}
            reason = list(REASONS.values())[row.label("cultural_sensitivity_label", labels)]
            options = tuple(row.text(f"option_{letter}") for letter in LETTERS.lower())
            if reason:
                source.account.leave_out(reason)
            elif distinct(options, source):
                yield Item(
                    id=row.text("sample_id"),
                    benchmark=self.name,
                    country=_country(row),
                    question=row.text("question"),
                    options=options,
                    answer=row.label("answer", {letter: index for index, letter in enumerate(LETTERS)}),
                    topic=row.text("subject"),
                )


BENCHMARKS.register("global_mmlu_cs")(GlobalMmluCs())


def _country(row: Row) -> str:
    """Return the one country that a question needs knowledge of; "none" if there is no such, or several."""
    value = row.get("country")
    named = value if isinstance(value, list) else re.findall(r"['\"]([^'\"]+)['\"]", str(value or ""))
    country = find(re.sub(r"\(.*?\)", "", str(named[0])).strip()) if len(named) == 1 else None
    return country.name if country else "none"
