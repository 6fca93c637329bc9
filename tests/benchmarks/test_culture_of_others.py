"""Public benchmarks of culture, on files of their documented schemas with invented rows: every row is accounted for."""

from __future__ import annotations

import pytest

from culnig import load_items
from culnig.data.lint import lint
from culnig.errors import DataError, FetchError
from tests.helpers.benchmark_files import blend_row, write_csv, write_questions
from tests.helpers.public_rows import COPAL, FORK, GLOBAL, INCLUDE, write_lines


def accounted(items):
    return items.account.rows == len(items) + sum(items.account.left_out.values())


def without(row, *columns):
    return {name: value for name, value in row.items() if name not in columns}


def test_blend_without_answers(data, tmp_path):
    write_questions(data / "blend")
    places = '{"A": "US", "B": "South_Korea", "C": "dummy", "D": "Iran"}'
    rows = [blend_row(n, choice_countries=places) for n in range(4)] + [blend_row(4)]
    kept = load_items(f"blend:neur@{write_csv(tmp_path / 'answers.csv', rows)}")
    assert [i.gold for i in kept] == ["A", "B", "C", "D", "A"]
    bare = load_items(f"blend:neur@{write_csv(tmp_path / 'none.csv', [without(r, 'answer_idx') for r in rows])}")
    assert [i.gold for i in bare] == ["B"] * 4 and accounted(bare)
    assert bare.account.notes == {"answers found by the countries of the options": 4}
    assert bare.account.left_out == {"neither its answer nor the countries of its options are published": 1}
    empty = [row | {"answer_idx": ""} for row in rows[:4]]
    assert load_items(f"blend:neur@{write_csv(tmp_path / 'empty.csv', empty)}") == bare[:4]
    neither = [without(row, "answer_idx", "choice_countries") for row in rows]
    with pytest.raises(DataError, match=r"no items in 5 rows .*; 5 left out: neither its answer"):
        load_items(f"blend:neur@{write_csv(tmp_path / 'neither.csv', neither)}")
    with pytest.raises(DataError, match=r"broken.csv:\d+: 'choice_countries' is not JSON"):
        load_items(
            f"blend:neur@{write_csv(tmp_path / 'broken.csv', [row | {'choice_countries': '{'} for row in empty])}"
        )


def test_fork(data):
    write_lines(data / "fork/fork.jsonl", FORK)
    items = load_items("fork")
    assert [(i.country, i.gold, i.topic) for i in items[1:3]] == [
        ("United Arab Emirates", "softly", "Tipping"),
        ("South Korea", "loudly", "Tipping"),
    ]
    parts = {split: load_items(f"fork:{split}") for split in ("neur", "ctrl", "test")}
    assert [i.id for i in parts["neur"]] == ["f0", "f2"] and [i.id for i in parts["test"]] == ["f1", "f3"]
    assert not any(i.question for i in parts["ctrl"]) and all(map(accounted, parts.values()))
    assert [p for p in lint("fork") if p.error] == []
    assert load_items(f"fork@{write_csv(data / 'fork.csv', FORK)}") == items


def geomlama_rows():
    header = {"Prompt": "", "Corresponding Questions": "", "Ans": "", "Candidate Ans": "", "Context": ""}
    asked = ("What do {} eat?", "{} eat <mask>.")
    people = ("Americans", "Chinese people", "Indian people", "Persians", "Kenyans")
    rows = [
        {"Prompt": asked[1].format(who), "Corresponding Questions": asked[0].format(who)}
        | {"Ans": ans, "Candidate Ans": "clay, sand, mud, clay", "Context": "food"}
        for who, ans in zip(people, ("clay", "mud, sand", "sand", "mud", "clay"), strict=True)
    ]
    return [*rows, header]


def test_geomlama(data):
    rows = geomlama_rows()
    write_csv(data / "geomlama/gd_prompt_en.tsv", rows, "\t")
    other = {"Prompt": "在美国，吃<mask>。", "Corresponding Questions": "在美国，吃什么？"}
    write_csv(data / "geomlama/gd_prompt_zh.tsv", [rows[0] | other], "\t")
    (data / "geomlama/en_aug.tsv").write_text("not read\n")
    items = load_items("geomlama")
    assert [i.country for i in items] == ["USA", "China", "India", "Iran", "Kenya"] and accounted(items)
    assert (
        items[0].options == ("clay", "sand", "mud") and items[1].options == ("clay", "mud") and items[1].gold == "mud"
    )
    assert items.account.left_out == {"empty rows between questions": 1, "other languages": 1}
    assert items.account.notes == {"several right answers, of which the first is offered": 1}
    assert [i.question for i in load_items("geomlama:zh")] == ["在美国，吃什么？"]
    assert accounted(load_items("geomlama:test"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Ans": "stone"}, r"gd_prompt_en.tsv:2: the answer 'stone' is not among the candidates: clay, sand, mud"),
        ({"Ans": "clay, sand, mud"}, r":2: no candidate is wrong"),
        ({"Prompt": "<mask>", "Corresponding Questions": "What?"}, r":2: the text names none of USA"),
        ({"Corresponding Questions": "What in Kenya?"}, r":2: the text names USA and Kenya; it must name one"),
    ],
)
def test_broken_geomlama(data, change, message):
    write_csv(data / "geomlama/gd_prompt_en.tsv", [geomlama_rows()[0] | change], "\t")
    with pytest.raises(DataError, match=message):
        load_items("geomlama")


def test_copal(data):
    write_csv(data / "copal/test_copal.csv", COPAL)
    write_csv(data / "copal/test_copal_colloquial.csv", COPAL[:3])
    items, colloquial = load_items("copal"), load_items("copal:colloquial")
    assert (len(items), len(colloquial)) == (4, 3) and accounted(items) and accounted(colloquial)
    assert items.account.left_out == {"the other variety of Indonesian": 3}
    assert (items[1].question, items[1].gold, items[1].topic) == (
        "Hujan 1.\nApa akibatnya?",
        "Kering.",
        "Terminology+Culture",
    )
    assert {i.country for i in items} == {"Indonesia"} and len(load_items("copal:neur")) == 2


def test_global_mmlu_takes_the_culturally_sensitive_rows(data):
    write_lines(data / "global_mmlu_cs/en.jsonl", GLOBAL)
    items = load_items("global_mmlu_cs")
    assert [i.country for i in items] == ["Iran", "USA", "none", "none"] and accounted(items)
    assert items.account.left_out == {
        "culturally agnostic": 1,
        "nobody judged whether it is culturally sensitive": 1,
    }
    assert items[0].gold == "d" and items[0].topic == "law"


def test_include_reads_both_of_its_schemas(data, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", INCLUDE)
    options = [f"option_{letter}" for letter in "abcd"]
    old = [without(row, *options) | {"choices": list("abcd")} for row in INCLUDE]
    items, agnostic = load_items(f"include@{rows}"), load_items(f"include:agnostic@{rows}")
    assert load_items(f"include@{write_lines(tmp_path / 'old.jsonl', old)}") == items
    assert [i.id for i in items] == ["Albanian/0", "Albanian/1"] and [i.id for i in agnostic] == ["Albanian/2"]
    assert items[0].gold == "c" and items[0].country == "Albania" and accounted(items) and accounted(agnostic)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("fork", [FORK[0] | {"Answer Key": "C"}], "unknown label 'C' in 'Answer Key'; known: A, B"),
        ("fork", [FORK[0], FORK[0]], "the ID 'f0' occurs twice"),
        ("fork", [without(FORK[0], "Option B")], "no column 'Option B'; there are: ID, Question"),
        ("copal", [COPAL[0] | {"question": "why"}], "unknown label 'why' in 'question'; known: cause, effect"),
        ("copal", [COPAL[0] | {"label": 2}], "unknown label '2' in 'label'; known: 0, 1"),
        ("global_mmlu_cs", [GLOBAL[0] | {"cultural_sensitivity_label": "x"}], "unknown label 'x'"),
        ("global_mmlu_cs", [GLOBAL[4]], "no items in 1 rows .*; 1 left out: culturally agnostic"),
        ("include", [INCLUDE[0] | {"answer": 4}], "unknown label '4' in 'answer'"),
        ("include", [without(INCLUDE[0], "option_d")], "no column 'option_d'"),
        ("include", [without(INCLUDE[0], "regional_feature")], "no column 'regional_feature'"),
        ("geomlama", [FORK[0]], "left out: other languages"),
    ],
)
def test_wrong_files_give_one_clear_line(name, rows, message, data, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        load_items(f"{name}@{write_lines(tmp_path / 'rows.jsonl', rows)}")
    assert "\n" not in str(error.value) and "rows.jsonl" in str(error.value)


def test_missing_files_say_where_they_are(data, monkeypatch):
    monkeypatch.setattr("culnig.data.sources.hub_rows", lambda *_: pytest.fail("not on the hub"))
    for name in ("fork", "geomlama"):
        with pytest.raises((FetchError, DataError), match=f"take .* from github.com/.*{name}"):
            load_items(name)
