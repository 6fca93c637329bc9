"""`facts`: as large as promised, nothing said twice, and nothing of a country among the facts of none."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from culnig import load_items
from culnig.benchmarks import everyday
from culnig.benchmarks.facts import FILES
from culnig.data.countries import COUNTRIES, resolve
from culnig.data.options import normalise, overlap, read_yaml

FACTS = {split: [read_yaml(f"facts/{name}.yaml") for name in FILES[split]] for split in ("test", "dev")}
QUESTIONS = {split: [q for data in several for q in data["questions"]] for split, several in FACTS.items()}


def pairs(questions):
    return {(entity, normalise(answers[0])) for q in questions for entity, answers in q["answers"].items()}


@pytest.mark.parametrize(("split", "least"), [("test", 300), ("dev", 120)])
def test_as_large_as_promised(split, least):
    items = load_items(f"facts:{split}")
    kinds = Counter(item.topic for item in items)
    assert set(kinds) == {"world", "countries"} and min(kinds.values()) >= least
    assert len(items) == sum(len(q["answers"]) for q in QUESTIONS[split])
    assert all(len(item.options) == 4 for item in items)
    assert {i.country for i in items if i.topic == "world"} == {"none"}
    positions = Counter((item.topic, item.answer) for item in items)
    for kind, count in kinds.items():
        assert all(positions[kind, p] == pytest.approx(count / 4, rel=0.15) for p in range(4))


def test_the_same_for_the_same_seed():
    assert load_items("facts:test") == load_items("facts") == load_items("facts:test", seed=0)
    assert load_items("facts:test") != load_items("facts:test", seed=1)


def test_dev_shares_nothing_with_test_and_neither_with_everyday():
    texts = {split: {q["question"] for q in questions} for split, questions in QUESTIONS.items()}
    assert not texts["dev"] & texts["test"]
    assert not pairs(QUESTIONS["dev"]) & pairs(QUESTIONS["test"])
    theirs = [
        q
        for names in everyday.FILES.values()
        for name in names
        for q in read_yaml(f"everyday/{name}.yaml")["questions"]
    ]
    ours = QUESTIONS["dev"] + QUESTIONS["test"]
    assert not {q["question"].format(x="") for q in ours} & {q["question"].format(country="") for q in theirs}
    assert not pairs(ours) & pairs(theirs)


def test_the_items_of_ability_are_not_asked_again():
    kinds = [k for name in ("ability", "ability_dev") for k in read_yaml(f"{name}.yaml")["kinds"]]
    asked = {(normalise(str(x)), normalise(str(gold))) for k in kinds for x, gold, *_ in k["items"]}
    ours = {(normalise(x), gold) for x, gold in pairs(QUESTIONS["dev"] + QUESTIONS["test"])}
    assert not ours & asked


def test_no_wrong_option_is_right_and_no_answer_is_accepted_twice():
    for split, questions in QUESTIONS.items():
        accepted = {f"{q['id']}/{entity}": a for q in questions for entity, a in q["answers"].items()}
        assert all(len({normalise(x) for x in answers}) == len(answers) for answers in accepted.values())
        for item in load_items(f"facts:{split}", seed=3):
            wrong = [o for o in item.options if o != item.gold]
            assert item.gold == accepted[item.id][0] and len(wrong) == 3
            assert not any(overlap(o, right) for o in wrong for right in accepted[item.id]), item.id


def test_no_country_among_the_facts_of_the_world():
    names = {w.casefold() for c in COUNTRIES for w in (c.name, c.phrase, *c.aliases) if len(w) > 3}
    given_away = re.compile("|".join(rf"\b{re.escape(stem)}" for c in COUNTRIES for stem in c.stems))
    for several in FACTS.values():
        (world,) = [data for data in several if data["kind"] == "world"]
        for q in world["questions"]:
            texts = [q["question"], *q["answers"], *(a for answers in q["answers"].values() for a in answers)]
            for text in (t.casefold() for t in texts):
                assert not given_away.search(text) and not any(re.search(rf"\b{n}\b", text) for n in names), text


def test_places_are_those_of_everyday():
    places = {item.country for item in load_items("everyday:neur")}
    for several in FACTS.values():
        (countries,) = [data for data in several if data["kind"] == "countries"]
        assert {resolve(place).name for q in countries["questions"] for place in q["answers"]} == places


def test_answers_are_short():
    for questions in QUESTIONS.values():
        assert all(isinstance(a, str) for q in questions for answers in q["answers"].values() for a in answers)
        assert all(len(answers[0].split()) <= 4 for q in questions for answers in q["answers"].values())


def test_both_kinds_can_be_had_alone():
    world, countries = (load_items(f"facts:{kind}-dev") for kind in ("world", "countries"))
    assert {item.topic for item in world} == {"world"} and {item.topic for item in countries} == {"countries"}
    assert world + countries == load_items("facts:dev")
