"""`blend_built`: multiple-choice questions that we build from BLEnD's annotations, for use without its official file.

This is not the official set; do not compare its accuracies with published ones.  We build items for each country and
question as follows.  The gold answer is the answer with the most votes (the first of equals, in file order).  Wrong
options are other countries' answers to the same question that have at least two votes.  They overlap with no answer
that anybody gave for the country itself, and they never come from places of the same culture.  Texts are English; a
question has up to five draws of options.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import ClassVar, NamedTuple

from culnig.benchmarks._blend import ANNOTATIONS, HUB, LICENCE, QUESTIONS, TOPICS, answers_of, topics
from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.options import normalise, place
from culnig.data.sources import External, Source
from culnig.data.tables import Row, country_name
from culnig.errors import DataError

DRAWS = 5
WRONG = 3
VOTES = 2
"""Votes that another country's answer needs to serve as a wrong option."""
_ES = re.compile(r"(?<=ch|sh)e\b")  # sandwiche(s): `normalise` has removed the s


class Answer(NamedTuple):
    """One answer with its English spellings and its votes."""

    texts: tuple[str, ...]
    votes: int


class Question(NamedTuple):
    """The question that one country was asked, and its answers, most votes first."""

    where: str
    text: str
    answers: tuple[Answer, ...]


class BlendBuilt(External):
    """Our own multiple-choice questions from BLEnD's annotations; see docs/benchmarks.md."""

    name = "blend_built"
    folder = "blend"
    description = "built from BLEnD's annotations (not its official questions); 16 countries"
    source = f"{LICENCE}; hub {HUB}; options drawn by this project"
    splits = (
        Split("neur", "Food, Work life, Sport: to identify neurons"),
        Split("ctrl", "the items of `neur` without the question: control"),
        Split("test", "Education, Family, Holidays/Celebration/Leisure: to evaluate"),
    )
    tables: ClassVar = {"annotations": ANNOTATIONS, "questions": QUESTIONS}

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        wanted = TOPICS["neur" if split == "ctrl" else split]
        topic_of = topics(source)
        asked: dict[str, dict[str, Question]] = {}
        for row in source.rows("annotations"):
            country, number = country_name(row.table.removesuffix("_data"), row.where), row.text("ID")
            if number not in topic_of:
                raise DataError(f"{row.where}: the question {number} is not in the questions tables")
            if topic_of[number] not in wanted:
                source.account.leave_out("topics of the other split")
                continue
            if country in asked.setdefault(number, {}):
                raise DataError(f"{row.where}: {country} has the question {number} twice")
            asked[number][country] = _question(row, country)
        for number, countries in asked.items():
            for index, country in enumerate(countries):
                made = list(_draw(number, country, countries, index, seed, topic_of[number], split == "ctrl"))
                if not made:
                    source.account.leave_out(_why_none(countries[country]))
                yield from made


BENCHMARKS.register("blend_built")(BlendBuilt())


def _question(row: Row, country: str) -> Question:
    answers = tuple(Answer(answer.english, answer.votes) for answer in answers_of(row))
    # The hub's English text says "your country" for every country.
    text = row.text("en_question").replace("your country", resolve(country).phrase)
    return Question(row.where, text, answers)


def _draw(
    number: str, country: str, countries: dict[str, Question], index: int, seed: int, topic: str, control: bool
) -> Iterator[Item]:
    """Yield the items of one country and question; none without an English gold answer or enough wrong options."""
    question = countries[country]
    if not question.answers or not question.answers[0].texts:
        return
    gold = question.answers[0].texts[0]
    pool = wrong_pool(country, countries)
    seen: set[frozenset[str]] = set()
    for draw in range(DRAWS):
        rng = random.Random(f"{seed}/{number}/{country}/{draw}")
        wrong = _take(pool, rng)
        if len(wrong) < WRONG or frozenset(wrong) in seen:
            continue
        seen.add(frozenset(wrong))
        options, answer = place(gold, wrong, index + draw, rng)
        yield Item(
            id=f"{number}/{country}/{draw}",
            benchmark="blend_built",
            country=country,
            question="" if control else question.text,
            options=options,
            answer=answer,
            topic=topic,
            variant=str(draw),
            control=control,
            template="blend",
        )


def wrong_pool(country: str, countries: dict[str, Question]) -> list[Answer]:
    """Return other countries' answers that may serve as wrong options."""
    kin = resolve(country).kin
    own = [text for answer in countries[country].answers for text in answer.texts]
    pool = []
    for other, question in countries.items():
        if other == country or other in kin:
            continue
        for answer in question.answers:
            if answer.votes >= VOTES and answer.texts and not any(_same(a, b) for a in answer.texts for b in own):
                pool.append(answer)
    return pool


def _take(pool: list[Answer], rng: random.Random) -> list[str]:
    chosen: list[Answer] = []
    for candidate in rng.sample(pool, len(pool)):
        if not any(_same(a, b) for other in chosen for a in candidate.texts for b in other.texts):
            chosen.append(candidate)
            if len(chosen) == WRONG:
                break
    return [answer.texts[0] for answer in chosen]


def _same(a: str, b: str) -> bool:
    """Return whether two answers are the same, or one contains the other as whole words."""
    a, b = _words(a), _words(b)
    return a in b or b in a


@cache
def _words(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = normalise(plain) or plain.casefold()
    return f" {_ES.sub('', plain)} "


def _why_none(question: Question) -> str:
    if not question.answers:
        return "nobody gave an answer"
    if not question.answers[0].texts:
        return "the answer with the most votes has no English text"
    return f"fewer than {WRONG} wrong options"
