"""`blend`: BLEnD's multiple-choice questions, with the ready-made prompt of each row.

The published protocol (METHOD section 4) takes at most five rows of each country and question, in file order.  It
splits the topics in two; the control is the prompt without the question.  The prompt asks for JSON, so the answer
begins with `{"answer_choice":"`.  The `plain-` splits hold the same rows as question and options.  They serve our own
wordings, and the completion formulation, which must not list options.

The schema is that of hub nayeon212/BLEnD: `MCQID`, `ID`, `country`, `prompt`, `choices` and `choice_countries` (JSON
objects) and `answer_idx` (a label).  Where rows are published without `answer_idx`, the answer is the one option that
`choice_countries` gives to the country asked about.  A row with neither is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from culnig.benchmarks._blend import HUB, LICENCE, QUESTIONS, TOPICS, topics
from culnig.data.countries import canonical
from culnig.data.items import BENCHMARKS, Item, Split
from culnig.data.sources import External, Source, Table, unique
from culnig.data.tables import Row
from culnig.errors import DataError
from culnig.parsing import parse_json

PER_QUESTION = 5
INSTRUCTION = "Without any explanation"
"""Beginning of the instruction that follows the question in every prompt."""
PREFIX = '{"answer_choice":"'


class Blend(External):
    """Everyday knowledge of 16 countries and regions; see docs/benchmarks.md."""

    name = folder = "blend"
    description = "BLEnD, multiple choice: everyday knowledge of 16 countries; ready-made prompts"
    source = f"{LICENCE}; hub {HUB}"
    splits = (
        Split("neur", "Food, Work life, Sport: to identify neurons"),
        Split("ctrl", "the prompts of `neur` without the question: control"),
        Split("test", "Education, Family, Holidays/Celebration/Leisure: to evaluate"),
        Split("plain-neur", "`neur` as question and options, for our own wordings and for cf"),
        Split("plain-ctrl", "`plain-neur` without the question: control"),
        Split("plain-test", "`test` as question and options"),
    )
    tables: ClassVar = {
        "rows": Table(
            "the multiple-choice questions (mc_questions_file.csv, or their Parquet files)",
            ("mc_questions*.csv", "mc_questions*.json*", "multiple-choice-questions*/**/*.parquet", "multiple-choice*"),
            HUB,
            "multiple-choice-questions",
            several=True,
        ),
        "questions": QUESTIONS,
    }

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        part = split.removeprefix("plain-")
        wanted = TOPICS["neur" if part == "ctrl" else part]
        topic_of = topics(source)
        taken: Counter[tuple[str, str]] = Counter()
        for row in unique(source.rows("rows"), "MCQID"):
            country, question = row.country("country"), row.text("ID")
            if question not in topic_of:
                raise DataError(f"{row.where}: the question {question} is not in the questions tables")
            number = taken[country, question]
            if topic_of[question] not in wanted:
                source.account.leave_out("topics of the other split")
            elif number == PER_QUESTION:
                source.account.leave_out(f"beyond the first {PER_QUESTION} of a country and question")
            elif (answered := _answered(row, country, source)) is None:
                source.account.leave_out("neither its answer nor the countries of its options are published")
            else:
                taken[country, question] += 1
                make = _plain if split.startswith("plain-") else _ready
                yield make(answered, country, topic_of[question], number, part == "ctrl")


BENCHMARKS.register("blend")(Blend())


def _ready(row: Row, country: str, topic: str, number: int, control: bool) -> Item:
    """Make an item with the row's own prompt."""
    labels = tuple(_choices(row))
    _, instruction = _cut(row)
    return Item(
        id=f"{row.text('ID')}/{country}/{number}",
        benchmark="blend",
        country=country,
        prompt=instruction if control else row.get("prompt"),
        target=labels[_answer(row, labels)],
        prefix=PREFIX,
        options=labels,
        answer=_answer(row, labels),
        topic=topic,
        variant=str(number),
        control=control,
    )


def _plain(row: Row, country: str, topic: str, number: int, control: bool) -> Item:
    """Make an item with the row's question and options."""
    choices = _choices(row)
    return Item(
        id=f"{row.text('ID')}/{country}/{number}",
        benchmark="blend",
        country=country,
        question="" if control else _cut(row)[0],
        options=tuple(choices.values()),
        answer=_answer(row, tuple(choices)),
        topic=topic,
        variant=str(number),
        control=control,
        template="blend",
        shuffle=True,
    )


def _answered(row: Row, country: str, source: Source) -> Row | None:
    """Return the row with its answer; None if it has none and the countries of its options do not tell."""
    if str(row.values.get("answer_idx") or "").strip():
        return row
    countries = _object(row, "choice_countries") if row.values.get("choice_countries") else {}
    own = [label for label, name in countries.items() if canonical(str(name)) == country]
    if len(own) != 1:
        return None
    source.account.note("answers found by the countries of the options")
    return Row(row.where, row.table, {**row.values, "answer_idx": own[0]})


def _object(row: Row, column: str) -> dict[str, Any]:
    """Return the JSON object of a column."""
    value = row.get(column)
    try:
        found = parse_json(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise DataError(f"{row.where}: '{column}' is not JSON: {error.msg}") from error
    if not isinstance(found, dict):
        raise DataError(f"{row.where}: '{column}' must map labels to options, not {value!r}")
    return found


def _choices(row: Row) -> dict[str, str]:
    """Return label -> option."""
    value, choices = row.get("choices"), _object(row, "choices")
    if len(choices) < 2 or not all(str(text).strip() for text in choices.values()):
        raise DataError(f"{row.where}: 'choices' must map labels to options, not {value!r}")
    return {label: str(text) for label, text in choices.items()}


def _answer(row: Row, labels: tuple[str, ...]) -> int:
    return row.label("answer_idx", {label: index for index, label in enumerate(labels)})


def _cut(row: Row) -> tuple[str, str]:
    """Return the prompt's question, and the rest of the prompt: instruction and options."""
    question, found, rest = row.text("prompt").partition(INSTRUCTION)
    if not found or not question.strip():
        raise DataError(f"{row.where}: the prompt has no question in front of {INSTRUCTION!r}, so it has no control")
    return question.strip(), found + rest
