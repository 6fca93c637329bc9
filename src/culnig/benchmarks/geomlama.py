"""`geomlama`: GeoMLAMA, 125 questions about everyday life in five countries, each in five languages.

The schema is that of gd_prompt_<language>.tsv of github.com/WadeYin9712/GeoMLAMA: `Prompt` (with <mask>),
`Corresponding Questions`, `Ans`, `Candidate Ans` and `Context`, with rows of empty fields between the blocks of a
question.  `Ans` and `Candidate Ans` are separated by commas, and several answers can be right.  The country stands in
the text alone.  The question is asked here, and not the prompt, whose mask can be anywhere in the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._parts import CULTURE, Parted, numbered
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import Source, Table
from culnig.data.tables import Row
from culnig.errors import DataError

LANGUAGES = {"en": "English", "zh": "Chinese", "hi": "Hindi", "fa": "Persian", "sw": "Swahili"}
NAMES = {
    "USA": r"united states|american|美国|अमेरिक|آمریکا|marekani",
    "China": r"\bchin|wachina|中国|चीन|چین",
    "India": r"\bindia|wahindi|hindu\b|印度|भारत|हिंदू|هند",
    "Iran": r"\biran|\bpersia|uajemi|waajemi|kiajemi|伊朗|ईरान|फ़ारसी|ایران",
    "Kenya": r"kenya|肯尼亚|केन्या|कीनिया|کنیا",
}
"""Country -> a pattern of its names in the five languages, with those of its people."""


class GeoMlama(Parted):
    """Everyday life in the USA, China, India, Iran and Kenya; see docs/benchmarks.md."""

    name = folder = "geomlama"
    description = "GeoMLAMA: everyday life in 5 countries, in 5 languages; 2 to 9 options"
    source = "GeoMLAMA (Yin et al. 2022), no licence stated; github.com/WadeYin9712/GeoMLAMA"
    splits = (
        *CULTURE,
        *(Split(code, f"every row in {name}: to evaluate") for code, name in LANGUAGES.items() if code != "en"),
    )
    fetch = "take gd_prompt_<language>.tsv from github.com/WadeYin9712/GeoMLAMA"
    tables: ClassVar = {"rows": Table("gd_prompt_*.tsv", ("gd_prompt_??.tsv",), several=True)}

    def made(self, form: str, seed: int, source: Source) -> Iterator[Item]:
        language = form or "en"
        for number, row in numbered(source.rows("rows")):
            if not any(str(value).strip() for value in row.values.values()):
                source.account.leave_out("empty rows between questions")
            elif row.table != f"gd_prompt_{language}":
                source.account.leave_out("other languages")
            else:
                yield _item(row, number, source)


BENCHMARKS.register("geomlama")(GeoMlama())


def _item(row: Row, number: int, source: Source) -> Item:
    right, candidates = _listed(row, "Ans"), _listed(row, "Candidate Ans")
    if missing := [answer for answer in right if answer not in candidates]:
        raise DataError(f"{row.where}: the answer {missing[0]!r} is not among the candidates: {', '.join(candidates)}")
    if len(right) > 1:
        source.account.note("several right answers, of which the first is offered")
    options = tuple(c for c in candidates if c == right[0] or c not in right)
    if len(options) < 2:
        raise DataError(f"{row.where}: no candidate is wrong: {', '.join(candidates)}")
    return Item(
        id=str(number),
        benchmark="geomlama",
        country=_country(row),
        question=row.text("Corresponding Questions"),
        options=options,
        answer=options.index(right[0]),
        topic=row.text("Context"),
        shuffle=True,
    )


def _listed(row: Row, column: str) -> list[str]:
    """Return the different entries of a list with commas."""
    return list(dict.fromkeys(entry.strip() for entry in row.text(column).split(",") if entry.strip()))


def _country(row: Row) -> str:
    text = f"{row.text('Prompt')} {row.text('Corresponding Questions')}".lower()
    found = [country for country, pattern in NAMES.items() if re.search(pattern, text)]
    if len(found) != 1:
        named = f"names {' and '.join(found)}" if found else f"names none of {', '.join(NAMES)}"
        raise DataError(f"{row.where}: the text {named}; it must name one country")
    return found[0]
