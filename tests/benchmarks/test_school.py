"""The embedded school items: as many as promised, balanced, and nothing shared between the splits."""

from __future__ import annotations

import operator
import re
from collections import Counter
from functools import reduce

import pytest

from culnig import load_items
from culnig.benchmarks.school import KINDS
from culnig.data.lint import lint
from culnig.prompts import PromptPolicy, render

OPERATIONS = {"plus": operator.add, "minus": operator.sub, "times": operator.mul}


@pytest.fixture(scope="module")
def splits():
    return {name: load_items(f"school:{name}") for name in ("test", "dev")}


@pytest.fixture(scope="module")
def arithmetic(splits):
    return [item for items in splits.values() for item in items if item.topic == "arithmetic"]


def test_sizes_and_balance(splits):
    assert lint("school") == []
    for name, each in (("test", 80), ("dev", 40)):
        items = splits[name]
        assert Counter(item.topic for item in items) == dict.fromkeys(KINDS, each)
        assert Counter((item.topic, item.answer) for item in items) == {
            (kind, position): each / 4 for kind in KINDS for position in range(4)
        }
        assert {item.country for item in items} == {"none"}
        assert all(len({option.casefold() for option in item.options}) == 4 for item in items)


def test_the_seed_orders_the_wrong_options_and_nothing_else(splits):
    again, other = load_items("school"), load_items("school:test", seed=1)
    assert again == splits["test"] and other != again
    assert [(i.id, i.question, i.gold, i.answer) for i in other] == [
        (i.id, i.question, i.gold, i.answer) for i in again
    ]
    assert [sorted(i.options) for i in other] == [sorted(i.options) for i in again]


def _words(item):
    return set(re.findall(r"\w+", f"{item.question} {item.gold}".lower()))


def test_splits_share_no_question_and_no_passage(splits):
    assert not {i.id for i in splits["test"]} & {i.id for i in splits["dev"]}
    words = {name: [_words(item) for item in items] for name, items in splits.items()}
    everything = words["test"] + words["dev"]
    # Two questions that differ by a name or a number would share four fifths of their words.
    pairs = [(a, b) for n, a in enumerate(everything) for b in everything[:n]]
    assert not [(a, b) for a, b in pairs if len(a & b) >= 0.8 * len(a | b)]
    sums = {name: {_sum(i.question) for i in items if i.topic == "arithmetic"} for name, items in splits.items()}
    assert sums["test"] & sums["dev"] == {None}  # only what is counted on has no sum


def test_reading_has_its_passage_in_the_prompt(splits):
    reading = [item for items in splits.values() for item in items if item.topic == "reading"]
    for item, prompt in zip(reading, render(reading, PromptPolicy(formulation="cf")), strict=True):
        passage, question = item.question.split("\n")
        assert question.endswith("?") and 2 <= len(re.findall(r"[.!?]", passage)) <= 4 and passage in prompt.text
    named = [sum(option.casefold().rstrip(".") in i.question.casefold() for option in i.options) for i in reading]
    assert sum(number >= 2 for number in named) > 0.6 * len(named)  # the gold answer and a wrong one, word for word


def _sum(question):
    """What the question asks to compute: the operation and its numbers; None where it goes on counting."""
    question = re.sub(r"twice (\d+)", r"2 times \1", question)
    if found := re.search(r"sum of ([\d, ]+) and (\d+)", question):
        return "plus", *sorted(map(int, [*found[1].split(", "), found[2]]))
    if found := re.search(r"\d+(?: (plus|minus|times) \d+)+", question):
        numbers = [int(number) for number in re.findall(r"\d+", found[0])]
        return found[1], *(numbers if found[1] == "minus" else sorted(numbers))
    found = re.search(r"(half of|one more than|just before) (\d+)\?", question)
    return (found[1], int(found[2])) if found else None


def _result(operation, *numbers):
    if operation in OPERATIONS:
        return reduce(OPERATIONS[operation], numbers)
    return {"half of": numbers[0] / 2, "one more than": numbers[0] + 1, "just before": numbers[0] - 1}[operation]


def test_sums_are_right_and_no_option_stands_in_the_question(arithmetic):
    asked = [(_sum(item.question), item) for item in arithmetic]
    assert [item.question for what, item in asked if what and _result(*what) != int(item.gold)] == []
    assert sum(what is None for what, _ in asked) == 5
    assert not [i.question for i in arithmetic if set(re.findall(r"\d+", i.question)) & set(i.options)]


def test_the_right_number_is_not_given_away_by_its_size(arithmetic):
    places = Counter(sorted(map(int, item.options)).index(int(item.gold)) for item in arithmetic)
    assert places == dict.fromkeys(range(4), len(arithmetic) / 4)
