"""`world_values`: WorldValuesBench, the most frequent answer of a country's people to a survey question.

The user provides the files, because the World Values Survey may not be passed on.  An item is a country and a question.
Its options are the steps of the question's scale in order; the gold answer is the most frequent one (the lowest of
equals).  A country with fewer than ten answers to a question has no item of that question.  As in the paper, `neur`
holds for each country the 40 questions whose answers differ most from the world's: the largest KL(country || world).

We list the steps with letters, because 10 is two tokens in many models.  The `numbers-` splits are the same items as
the published code asks them: to a person of the country, with the ends of the scale, and with a number as the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from culnig.data.countries import resolve
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import External, Source, Table
from culnig.data.tables import country_name
from culnig.errors import DataError
from culnig.files import read_json

if TYPE_CHECKING:
    import pyarrow as pa


FEWEST = 10
"""Answers that a country must have given to a question."""
NEUR = 40
"""Questions of each country in the split that identifies neurons."""


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
        Split("numbers-all", "`all` as published: asked of a person of the country, answered with a number"),
        Split("numbers-neur", "`neur` asked so"),
        Split("numbers-ctrl", "the items of `numbers-neur` without country and question: control"),
        Split("numbers-test", "`test` asked so"),
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
            part = split.removeprefix("numbers-")
            kept = _part(part, enough, {name: _divergence(of_country[name], counts.answers[name]) for name in enough})
            account.leave_out("in other splits", len(enough) - len(kept))
            for name in kept:
                ties += int((of_country[name] == of_country[name].max()).sum() > 1)
                given = of_country[name]
                if part == split:
                    yield _item(name, questions[name], country, int(given.argmax()), part == "ctrl")
                else:
                    answer = _first_given(given, counts.first[name][number])
                    yield _in_numbers(_item(name, questions[name], country, answer, part == "ctrl"), questions[name])
        account.notes["several answers equally frequent"] = ties

    def _questions(self, source: Source) -> dict[str, _Question]:
        """Return the value questions on a numeric scale; demographic questions are not asked."""
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
    """Return KL(country || world) of the answers to one question, in nats; `world` is [countries, steps]."""
    p, q = country / country.sum(), world.sum(axis=0) / world.sum()
    given = p > 0
    return float((p[given] * np.log(p[given] / q[given])).sum())


def _first_given(counts: np.ndarray, first: np.ndarray) -> int:
    """Return the most frequent step; of equally frequent ones that which was given first, as the published code does."""
    best = np.flatnonzero(counts == counts.max())
    return int(best[first[best].argmin()])


def _part(split: str, names: list[str], divergence: dict[str, float]) -> list[str]:
    """Return the questions of a split, in the file's order."""
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


def _in_numbers(item: Item, question: _Question) -> Item:
    """Return the item as the published code asks it; the template names the country and the ends of the scale."""
    return replace(item, question=question.text if item.question else "", template="world_values_numbers")


PERSON = "D_INTERVIEW"
COUNTRY = "B_COUNTRY"


class Counts(NamedTuple):
    """Answers of a survey.

    Attributes:
        countries: names as in the file, in order of appearance.
        answers: question -> counts [countries, steps of its scale].
        people: number of people asked.
        outside: number of answers that are no step of their question's scale.
        first: question -> row of the first person who gave each answer, shaped as in `answers`.
    """

    countries: list[str]
    answers: dict[str, np.ndarray]
    people: int
    outside: int
    first: dict[str, np.ndarray]


def count_answers(people: Path, values: Path, scales: Mapping[str, tuple[int, int]]) -> Counts:
    """Count each country's answers to each question.

    Args:
        people: TSV with one row a person: D_INTERVIEW, B_COUNTRY.
        values: TSV with one row a person: D_INTERVIEW, and one column a question, empty if it was not answered.
        scales: question -> lowest and highest step.  Questions without a column are not counted.

    Raises:
        DataError: a column is missing, a person occurs twice or has no country, or an answer is not a whole number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids, codes, countries = _countries(people)
    questions = [name for name in scales if name in _header(values)]
    answers = {name: np.zeros((len(countries), high - low + 1), int) for name, (low, high) in scales.items()}
    answers = {name: answers[name] for name in questions}
    first = {name: np.full(table.shape, np.iinfo(int).max) for name, table in answers.items()}
    total = outside = 0
    types = {PERSON: pa.string()} | dict.fromkeys(questions, pa.float64())
    for block in _blocks(values, [PERSON, *questions], types):
        position = pc.index_in(block.column(PERSON), value_set=ids)
        if position.null_count:
            row = int(np.flatnonzero(position.is_null().to_numpy(zero_copy_only=False))[0])
            person = block.column(PERSON)[row].as_py()
            raise DataError(f"{values}:{total + row + 2}: the person {person} is not in {people}")
        of_person = codes[position.to_numpy(zero_copy_only=False)]
        for name in questions:
            given = block.column(name).to_numpy(zero_copy_only=False)
            cells, rows, out = _cells(given, of_person, scales[name], f"{values}: column {name}")
            answers[name] += np.bincount(cells, minlength=answers[name].size).reshape(answers[name].shape)
            np.minimum.at(first[name].reshape(-1), cells, total + rows)
            outside += out
        total += block.num_rows
    return Counts(countries, answers, total, outside, first)


def _cells(
    given: np.ndarray, of_person: np.ndarray, scale: tuple[int, int], where: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return country and step of each answer of a block as one index, the answers' rows, and how many are no step."""
    answered = ~np.isnan(given)
    steps = given[answered].astype(int)
    if (steps != given[answered]).any():
        raise DataError(f"{where}: the answer {given[answered][steps != given[answered]][0]} is not a whole number")
    low, high = scale
    inside = (steps >= low) & (steps <= high)
    cells = of_person[answered][inside] * (high - low + 1) + (steps[inside] - low)
    return cells, np.flatnonzero(answered)[inside], int((~inside).sum())


def _countries(path: Path) -> tuple[pa.Array, np.ndarray, list[str]]:
    """Return the persons, the number of each one's country, and the countries."""
    import pyarrow as pa

    blocks = list(_blocks(path, [PERSON, COUNTRY], {PERSON: pa.string(), COUNTRY: pa.string()}))
    table = pa.Table.from_batches(blocks)
    ids = table.column(PERSON).combine_chunks()
    if len(ids.unique()) < len(ids):
        raise DataError(f"{path}: {len(ids) - len(ids.unique())} values of {PERSON} occur more than once")
    encoded = table.column(COUNTRY).combine_chunks().dictionary_encode()
    if table.column(COUNTRY).null_count:
        empty = int(np.flatnonzero(encoded.indices.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{path}:{empty + 2}: {COUNTRY} is empty")
    return ids, encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig") as stream:
        return stream.readline().rstrip("\r\n").split("\t")


def _blocks(path: Path, columns: Sequence[str], types: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """Yield a TSV's columns in blocks of some megabytes."""
    import pyarrow as pa
    import pyarrow.csv

    try:
        header = _header(path)
        if missing := [column for column in columns if column not in header]:
            raise DataError(f"{path}:1: no column '{missing[0]}'; this begins {' '.join(header[:5])[:100]!r}")
        yield from pa.csv.open_csv(
            path,
            # Only with one thread does pyarrow name the row of a broken cell.
            read_options=pa.csv.ReadOptions(block_size=4 << 20, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(columns), column_types=dict(types), null_values=[""], strings_can_be_null=True
            ),
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1: not UTF-8 text (byte {error.start})") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
