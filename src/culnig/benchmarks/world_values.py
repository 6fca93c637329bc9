"""`world_values`: WorldValuesBench, the answer that most people of a country give to a survey question.

Built from the user's own files, since the World Values Survey may not be passed on.  One item is a country and a question;
the options are the steps of the question's scale, in order, and the gold answer is the most frequent one (the lowest of
equals).  Countries with fewer than ten answers to a question are left out of it.  As in the paper, `neur` holds for each
country the 40 questions whose answers differ most from the whole world's: the largest KL(country || world).

The published code asks for the number itself; we list the steps with letters, because 10 is two tokens to many models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np

from culnig.benchmarks._base import BENCHMARKS, Item, Split
from culnig.benchmarks._external import External, Source, Table
from culnig.benchmarks._survey import count_answers
from culnig.benchmarks._tables import country_name
from culnig.countries import resolve
from culnig.errors import DataError
from culnig.files import read_json

FEWEST = 10
"""Answers that a country must have given to a question."""
NEUR = 40
"""Questions of each country that find neurons."""


class _Question(NamedTuple):
    text: str
    category: str
    scale: tuple[int, int]


class WorldValues(External):
    """Majority answers to the World Values Survey; see docs/benchmarks.md."""

    name = folder = "world_values"
    description = "WorldValuesBench: a country's most frequent answer to a survey question"
    source = "World Values Survey, wave 7 (own licence, not to be passed on), in the form of WorldValuesBench (2024)"
    fetch = (
        "register at worldvaluessurvey.org for the wave 7 CSV, make the WorldValuesBench files from it with the scripts of"
        " github.com/Demon702/WorldValuesBench"
    )
    splits = (
        Split("all", "every country and question: to evaluate", default=True),
        Split("neur", "each country's 40 questions that differ most from the world: to identify neurons"),
        Split("ctrl", "the items of `neur` without country and question: control"),
        Split("test", "each country's other questions: to evaluate where `neur` was used"),
    )
    tables: ClassVar = {
        "values": Table("full_value_qa.tsv", ("full_value_qa.tsv",)),
        "people": Table("full_demographic_qa.tsv", ("full_demographic_qa.tsv",)),
        "questions": Table("question_metadata.json", ("question_metadata.json",)),
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        questions = self._questions(source)
        values, people = source.path("values"), source.path("people")
        counts = count_answers(people, values, {name: q.scale for name, q in questions.items()})
        account = source.account
        account.rows = len(counts.countries) * len(questions)
        account.notes |= {"people": counts.people, "answers outside their scale": counts.outside}
        if absent := (len(questions) - len(counts.answers)) * len(counts.countries):
            account.leave_out("questions without a column", absent)
        ties = 0
        for number, spelling in enumerate(counts.countries):
            country = country_name(spelling, str(people))
            of_country = {name: table[number] for name, table in counts.answers.items()}
            enough = [name for name, given in of_country.items() if given.sum() >= FEWEST]
            account.leave_out(f"fewer than {FEWEST} answers", len(of_country) - len(enough))
            kept = _part(split, enough, {name: _divergence(of_country[name], counts.answers[name]) for name in enough})
            account.leave_out("in other splits", len(enough) - len(kept))
            for name in kept:
                ties += int((of_country[name] == of_country[name].max()).sum() > 1)
                yield _item(name, questions[name], country, int(of_country[name].argmax()), split == "ctrl")
        account.notes["several answers equally frequent"] = ties

    def _questions(self, source: Source) -> dict[str, _Question]:
        """The value questions on a numeric scale; demographic ones are not asked."""
        path = source.path("questions")
        data = read_json(path, "WorldValuesBench's question_metadata.json")
        found = {}
        try:
            for name, entry in data.items():
                if entry["use_case"] == "value":
                    scale = (int(entry["answer_scale_min"]), int(entry["answer_scale_max"]))
                    found[name] = _Question(str(entry["question"]), str(entry["category"]), scale)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: broken entry '{name}': {type(error).__name__} {error}") from error
        return found


BENCHMARKS.register("world_values")(WorldValues())


def _divergence(country: np.ndarray, world: np.ndarray) -> float:
    """KL(country || world) of the answers to one question, in nats; `world` is [countries, steps]."""
    p, q = country / country.sum(), world.sum(axis=0) / world.sum()
    given = p > 0
    return float((p[given] * np.log(p[given] / q[given])).sum())


def _part(split: str, names: list[str], divergence: dict[str, float]) -> list[str]:
    """The questions of a split, in the file's order."""
    if split == "all":
        return names
    first = set(sorted(names, key=lambda name: -divergence[name])[:NEUR])
    return [name for name in names if (name in first) == (split != "test")]


def _item(name: str, question: _Question, country: str, answer: int, control: bool) -> Item:
    low, high = question.scale
    return Item(
        id=f"{name}/{country}",
        benchmark="world_values",
        country=country,
        question="" if control else f"Country: {resolve(country).phrase}\nQuestion: {question.text}",
        options=tuple(str(step) for step in range(low, high + 1)),
        answer=answer,
        topic=question.category,
        control=control,
        template="world_values",
        scale=question.scale,
    )
