"""`everyday:sealed`: as large as promised, and nothing in it that `everyday` or `facts` asks."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest

from culnig import load_items
from culnig.benchmarks import everyday, facts
from culnig.data import items_hash
from culnig.data.countries import BLEND, resolve
from culnig.data.options import normalise, overlap, read_yaml

SEALED = [q for name in everyday.FILES["sealed"] for q in read_yaml(f"everyday/{name}.yaml")["questions"]]
KNOWN = [
    q
    for folder, files in (("everyday", everyday.FILES), ("facts", facts.FILES))
    for split in ("neur", "test", "dev")
    for name in files.get(split, ())
    for q in read_yaml(f"{folder}/{name}.yaml")["questions"]
]
STOP = frozenset(re.findall(r"\w+", "which what in of a an the is are do does for or and to that at by on from"))
HASHES = {
    "neur": "2f6ce18f80c1e446296000b7cefb576946d8ac7ece36bd74268931cbbe934b23",
    "ctrl": "0f42ac6814c928cfcaef7d10da519ae2e5d7b27f86728aed5d9f793f846746aa",
    "test": "fe02d10de90fdcb4f64adc4ff44a860d29e097c4fcba43f262160324cc62b710",
}


def content(question):
    """The words of a template that say what is asked."""
    text = re.sub(r"\{\w+\}", " ", question["question"].casefold())
    return {normalise(word) for word in re.findall(r"[a-z]+", text)} - STOP


def shared(a, b):
    return len(content(a) & content(b)) / len(content(a) | content(b))


def pairs(questions, answers=slice(None)):
    return {(c, normalise(str(x))) for q in questions for c, given in q["answers"].items() for x in given[answers]}


def test_as_large_as_promised():
    items = load_items("everyday:sealed")
    asked = Counter(resolve(country).name in BLEND for q in SEALED for country in q["answers"])
    assert len(SEALED) >= 20 and asked[True] >= 200 and asked[False] >= 80
    assert len(items) == 3 * asked.total() and all(len(item.options) == 4 for item in items)
    assert {item.topic for item in items} == {item.topic for item in load_items("everyday:test")}
    assert {item.country for item in items} == {item.country for item in load_items("everyday:test")}
    assert not any(item.control for item in items)
    assert not {i.id for i in items} & {i.id for split in HASHES for i in load_items(f"everyday:{split}")}


def test_no_question_is_asked_elsewhere():
    close = [(shared(a, b), a["id"], b["question"]) for a in SEALED for b in KNOWN if shared(a, b) >= 0.35]
    close += [(shared(a, b), a["id"], b["id"]) for a, b in combinations(SEALED, 2) if shared(a, b) >= 0.5]
    assert close == []


def test_a_paraphrase_is_noticed():
    dish = {"question": "Which famous dish is traditional in {country}?"}
    assert shared(dish, {"question": "What are the famous traditional dishes of {country}?"}) >= 0.35
    assert shared(dish, {"question": "Which astronaut or cosmonaut came from {country}?"}) < 0.35


def test_no_pair_of_country_and_answer_is_known():
    assert not pairs(SEALED, slice(1)) & pairs(KNOWN)


def test_answers_are_short_and_distinct():
    for q in SEALED:
        golds = [normalise(answers[0]) for answers in q["answers"].values()]
        assert len(set(golds)) == len(golds), q["id"]
        for country, answers in q["answers"].items():
            assert all(isinstance(a, str) and a.isascii() for a in answers), (q["id"], country)
            assert len({normalise(a) for a in answers}) == len(answers) and len(answers[0].split()) <= 4


@pytest.mark.parametrize("seed", [0, 3])
def test_no_wrong_option_is_accepted(seed):
    accepted = {(q["id"], resolve(c).name): answers for q in SEALED for c, answers in q["answers"].items()}
    for item in load_items("everyday:sealed", seed=seed):
        right = accepted[item.id.split("/")[0], item.country]
        assert item.gold == right[0]
        assert not any(overlap(o, a) for o in item.options if o != item.gold for a in right), item.id


def test_the_other_splits_are_as_they_were():
    assert {split: items_hash(load_items(f"everyday:{split}")) for split in HASHES} == HASHES
