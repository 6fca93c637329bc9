"""`blend_short`: BLEnD's short answers, in English or in the country's own language.

Prompts are BLEnD's own two wordings: an instruction (`inst-4`) and a persona (`pers-3`).  They are read from the user's
copy of its `prompts` folder and numbered as draws, so that `--draws 1` keeps only the instruction.

As in the published evaluation, a question is left out if nobody answered it, or if at least five people did not know.
It is also left out if at least three people found it not applicable or gave no answer.  Every answer that
somebody gave is right; in the local language its English spelling is right too.

The split `published` is that of the published code of the paper: every question of the test topics that somebody
answered, with one wording drawn from all that its country has.  English spellings do not count there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import ClassVar

from culnig.benchmarks._blend import ANNOTATIONS, HUB, LICENCE, QUESTIONS, TOPICS, answers_of, topics
from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Answer, Item, Split
from culnig.data.sources import External, Source, Table
from culnig.data.tables import Row, country_name
from culnig.errors import DataError

WORDINGS = ("inst-4", "pers-3")
"""The wordings of BLEnD that all countries have."""
SLOT = "{q}"
UNANSWERED, UNKNOWN = 3, 5
"""A question is left out if this many people gave no answer, or this many did not know."""


PUBLISHED_SEED = 42
PUBLISHED_ORDER = (
    "USA", "UK", "South Korea", "Algeria", "Indonesia", "Spain", "Iran", "Mexico", "Assam", "Greece", "Ethiopia",
    "Nigeria", "North Korea", "West Java", "China", "Azerbaijan",
)  # fmt: skip
"""Countries in the order in which the published code draws their wordings."""


class BlendShort(External):
    """Everyday knowledge of 16 countries and regions in 13 languages; see docs/benchmarks.md."""

    name = "blend_short"
    folder = "blend"
    description = "BLEnD, short answers: the model writes the answer; 16 countries, 13 languages (`culnig answer`)"
    source = f"{LICENCE}; hub {HUB}, prompts from github.com/nlee0212/BLEnD"
    fetch = "take the folder data/ of github.com/nlee0212/BLEnD"
    splits = (
        Split("neur", "Food, Work life, Sport; local language"),
        Split("test", "Education, Family, Holidays/Celebration/Leisure; local language"),
        Split("en-neur", "the questions of `neur` in English"),
        Split("en-test", "the questions of `test` in English"),
        Split("published", "the questions of `test` as in the published code: one drawn wording each"),
    )
    tables: ClassVar = {
        "annotations": ANNOTATIONS,
        "questions": QUESTIONS,
        "prompts": Table("the prompts (*_prompts.csv)", ("prompts/*_prompts.csv", "[A-Z]*_prompts.csv"), several=True),
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        if split == "published":
            yield from _published(source)
            return
        english = split.startswith("en-")
        wanted = TOPICS[split.removeprefix("en-")]
        topic_of, wordings = topics(source), _wordings(source, english)
        for row in source.rows("annotations"):
            country, number = country_name(row.table.removesuffix("_data"), row.where), row.text("ID")
            if number not in topic_of:
                raise DataError(f"{row.where}: the question {number} is not in the questions tables")
            if country not in wordings:
                raise DataError(f"{row.where}: no prompts for {country}; its {row.table[:-5]}_prompts.csv is missing")
            answers = _accepted(answers_of(row), english)
            question = _question(row, country, english)
            if topic_of[number] not in wanted:
                source.account.leave_out("topics of the other split")
            elif reason := _why_not(row, answers, question):
                source.account.leave_out(reason)
            else:
                yield from _items(number, country, question, answers, wordings[country], topic_of[number], english)


BENCHMARKS.register("blend_short")(BlendShort())


def _published(source: Source) -> Iterator[Item]:
    """Yield the test questions as the published code draws them: a wording of each from all of its country, seed 42.

    It leaves out only questions that nobody answered.  Answers are those in the country's language, of any vote.
    """
    topic_of, wordings = topics(source), _all_wordings(source)
    by_country: dict[str, list[Row]] = {}
    for row in source.rows("annotations"):
        by_country.setdefault(country_name(row.table.removesuffix("_data"), row.where), []).append(row)
    rng = random.Random(PUBLISHED_SEED)
    for country in sorted(by_country, key=_place):
        for row in by_country[country]:
            number = row.text("ID")
            if number not in topic_of:
                raise DataError(f"{row.where}: the question {number} is not in the questions tables")
            answers = tuple(Answer(a.texts, (), a.votes) for a in answers_of(row) if a.votes > 0 and a.texts)
            if topic_of[number] not in TOPICS["test"]:
                source.account.leave_out("topics of the other split")
            elif not answers:
                source.account.leave_out("nobody gave an answer in this language")
            elif country not in wordings:
                raise DataError(f"{row.where}: no prompts for {country}; its {row.table[:-5]}_prompts.csv is missing")
            else:
                wording = rng.choice(wordings[country])
                # Two of Algeria's wordings have no place for the question, and the published code asks without it.
                yield from _items(number, country, row.text("question"), answers, [wording], topic_of[number], False)


def _place(country: str) -> tuple[int, str]:
    """Return a country's place in the order of the published draw; others come last."""
    return (PUBLISHED_ORDER.index(country) if country in PUBLISHED_ORDER else len(PUBLISHED_ORDER), country)


def _all_wordings(source: Source) -> dict[str, list[str]]:
    """Return country -> all of its wordings, in file order; those without a place for the question keep their place."""
    found: dict[str, list[str]] = {}
    for row in source.rows("prompts"):
        country = country_name(row.table.removesuffix("_prompts"), row.where)
        found.setdefault(country, []).append(row.text("Translation"))
    return found


def _items(
    number: str,
    country: str,
    question: str,
    answers: tuple[Answer, ...],
    wordings: list[str],
    topic: str,
    english: bool,
) -> Iterator[Item]:
    for variant, wording in enumerate(wordings):
        yield Item(
            id=f"{number}/{country}/{variant}",
            benchmark="blend_short",
            country=country,
            prompt=wording.replace(SLOT, question).rstrip(),
            topic=topic,
            variant=str(variant),
            answers=answers,
            language="en" if english else resolve(country).language,
        )


def _wordings(source: Source, english: bool) -> dict[str, list[str]]:
    """Return country -> its wordings in the order of `WORDINGS`; of repeated wordings the last (revised) one."""
    found: dict[str, dict[str, str]] = {}
    for row in source.rows("prompts"):
        country, name = country_name(row.table.removesuffix("_prompts"), row.where), row.text("id")
        if name not in WORDINGS:
            continue
        text = row.text("English" if english else "Translation")
        if SLOT not in text:
            raise DataError(f"{row.where}: the wording {name} has no {SLOT} for the question")
        found.setdefault(country, {})[name] = text
    for country, texts in found.items():
        if missing := [name for name in WORDINGS if name not in texts]:
            raise DataError(f"the prompts of {country} lack {', '.join(missing)}")
    return {country: [texts[name] for name in WORDINGS] for country, texts in found.items()}


def _question(row: Row, country: str, english: bool) -> str:
    text = str(row.get("en_question" if english else "question") or "").strip()
    # The hub's English text says "your country" for every country.
    return text.replace("your country", resolve(country).phrase) if english else text


def _accepted(answers: tuple[Answer, ...], english: bool) -> tuple[Answer, ...]:
    """Return the answers that have a text in the language asked for, or at least in English."""
    if english:
        answers = tuple(Answer(answer.english, (), answer.votes) for answer in answers)
    return tuple(answer for answer in answers if answer.texts or answer.english)


def _why_not(row: Row, answers: tuple[Answer, ...], question: str) -> str:
    """Return why a question is left out; empty if it counts."""
    unsure = row.get("idks")
    try:
        silent, unknown = unsure["no-answer"] + unsure["not-applicable"], unsure["idk"]
    except (TypeError, KeyError) as error:
        raise DataError(f"{row.where}: 'idks' needs idk, no-answer and not-applicable: {unsure!r}") from error
    if not question:
        return "no question in this language"
    if silent >= UNANSWERED:
        return f"at least {UNANSWERED} people found it not applicable or gave no answer"
    if unknown >= UNKNOWN:
        return f"at least {UNKNOWN} people did not know"
    return "" if answers else "nobody gave an answer in this language"
