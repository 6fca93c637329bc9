"""Loaders of other people's benchmarks, on small files of their schemas with invented text."""

from __future__ import annotations

import pytest

from culnig import load_items, read_items, write_items
from culnig.data.lint import lint
from culnig.errors import DataError
from culnig.evaluation.multiple_choice import _alignment
from culnig.prompts import PromptPolicy, render
from tests.helpers.benchmark_files import (
    blend_row,
    blend_rows,
    culture_rows,
    survey,
    write_csv,
    write_json,
    write_questions,
)

MCF = PromptPolicy(formulation="mcf", wordings="all")


def test_blend_takes_five_rows_of_a_country_and_question(data):
    write_csv(data / "blend/mc_questions_file.csv", blend_rows())
    write_questions(data / "blend")
    neur, test = load_items("blend:neur"), load_items("blend:test")
    assert [i.id for i in neur] == [f"Q-01/South Korea/{n}" for n in range(5)] + ["Q-02/Nigeria/0"]
    assert [i.country for i in test] == ["USA"] * 2 and {i.topic for i in test} == {"Education"}
    assert neur.account.rows == 10 and sum(neur.account.left_out.values()) == 4 == 10 - len(neur)
    assert len(test) + sum(test.account.left_out.values()) == 10
    (prompt,) = render(neur[1:2], MCF)
    assert prompt.text == blend_row(1)["prompt"] and prompt.prefix == '{"answer_choice":"'
    assert prompt.answers == ("A", "B", "C", "D") and prompt.gold == 1
    assert len(load_items("blend:neur", draws=2)) == 3


def test_blend_controls_and_plain_rows(data):
    write_csv(data / "blend/mc_questions_file.csv", blend_rows())
    write_questions(data / "blend")
    assert [p for p in lint("blend") if p.error] == []
    control = load_items("blend:ctrl")[0]
    assert control.prompt.startswith("Without any explanation") and control.prompt.endswith("Answer:")
    plain = load_items("blend:plain-neur")[1]
    assert (plain.question, plain.gold) == ("What falls on Q-01 there?", "rain")
    assert [p.answers[p.gold] for p in render([plain], PromptPolicy(formulation="cf"))] == [" rain"]


def test_blend_from_parquet_and_from_the_hub_is_the_same(data, tmp_path):
    import pandas as pd

    write_questions(data / "blend")
    direct = load_items(f"blend:neur@{write_csv(tmp_path / 'rows.csv', blend_rows())}")
    frame = pd.DataFrame(blend_rows())
    hub = tmp_path / "nayeon212/BLEnD"  # the `datasets` library takes a folder of that name for the hub's
    (hub / "mc").mkdir(parents=True)
    frame.to_parquet(hub / "mc/test.parquet")
    (hub / "README.md").write_text(
        "---\nconfigs:\n- config_name: multiple-choice-questions\n"
        "  data_files:\n  - {split: test, path: mc/test.parquet}\n---\n"
    )
    assert load_items(f"blend:neur@{hub / 'mc/test.parquet'}") == direct
    hubs = load_items("blend:neur")
    assert hubs == direct and hubs.account.source == "nayeon212/BLEnD/multiple-choice-questions/test"


def annotation(question, *answers):
    told = [{"answers": ["?"], "en_answers": list(texts), "count": votes} for votes, *texts in answers]
    return {"question": "?", "en_question": question, "annotations": told, "idks": {}}


def write_annotations(folder):
    answers = {
        "US": annotation("What is eaten in US?", (4, "fried clay", "clay"), (2, "chalk"), (1, "sand")),
        "Iran": annotation("What is eaten in Iran?", (3, "Salt"), (1, "gravel")),
        "China": annotation("What is eaten in your country?", (3, "moss"), (2, "The chalk")),
        "Spain": annotation("What is eaten in Spain?", (2, "bark"), (2, "amber")),
        "Indonesia": annotation("What is eaten in Indonesia?", (3, "shells")),
        "West_Java": annotation("What is eaten in West Java?", (3, "shells with mud")),
        "Greece": annotation("What is eaten in Greece?"),
        "Mexico": annotation("What is eaten in Mexico?", (2,), (1, "slate")),
    }
    for country, told in answers.items():
        write_json(folder / f"annotations/{country}_data.json", {"Q-01": told, "Q-03": annotation("?", (1, "x"))})
    write_questions(folder)


def test_blend_built_from_annotations(data):
    write_annotations(data / "blend")
    items = load_items("blend_built:neur")
    of = {c: [i for i in items if i.country == c] for c in {i.country for i in items}}
    assert sorted(of) == ["China", "Indonesia", "Iran", "Spain", "USA", "West Java"]
    assert {i.gold for i in of["USA"]} == {"fried clay"} and {i.gold for i in of["Spain"]} == {"bark"}
    wrong = {c: {o for i in of[c] for o in i.options} - {i.gold for i in of[c]} for c in of}
    assert "amber" not in wrong["Spain"] and "gravel" not in wrong["USA"]  # their own answer; one vote
    assert not wrong["USA"] & {"chalk", "The chalk"}  # overlaps with an answer of their own
    assert "shells with mud" not in wrong["Indonesia"] and "shells" not in wrong["West Java"]  # the same culture
    assert all(not {"chalk", "The chalk"} <= {*i.options} for i in items)  # options do not overlap
    assert {i.question for i in of["China"]} == {"What is eaten in China?"}
    account = items.account
    assert account.rows == 16 and len({(i.country, i.id.split("/")[0]) for i in items}) == 6
    assert account.left_out == {
        "topics of the other split": 8,
        "nobody gave an answer": 1,
        "the answer with the most votes has no English text": 1,
    }
    control = load_items("blend_built:ctrl")
    assert [i.options for i in control] == [i.options for i in items] and not any(i.question for i in control)
    assert items == load_items("blend_built:neur") != load_items("blend_built:neur", seed=1)
    with pytest.raises(DataError, match="no items in 16 rows"):  # one answer a country leaves no wrong options
        load_items("blend_built:test")


# the others


def test_culturalbench_halves_and_shuffles(data):
    write_csv(data / "culturalbench/CulturalBench-Easy.csv", culture_rows(10))
    everything, neur, test = (load_items(f"culturalbench:{s}") for s in ("all", "neur", "test"))
    assert everything == load_items("culturalbench")
    assert [i.id for i in neur] == ["0", "1", "2", "3"] and [i.id for i in test] == ["4", "5", "6", "7", "8", "9"]
    assert {i.country for i in neur} == {"UK", "Taiwan"} and neur.account.left_out == {"the other half": 6}
    prompts = render(everything, MCF)
    assert len({p.gold for p in prompts}) == 4 and all(p.answers[p.gold] in p.answers for p in prompts)
    shown = [p.text.split("\n\n")[-2].splitlines()[p.gold] for p in prompts if p.wording == "letters-1"]
    assert all(line.endswith("a thing") for line in shown)
    assert [p.gold for p in prompts] == [p.gold for p in render(load_items("culturalbench"), MCF)]
    control = render(load_items("culturalbench:ctrl"), MCF)
    assert [p.gold for p in control] == [p.gold for p in render(neur, MCF)]
    assert lint("culturalbench") == []


def test_normad_control_keeps_the_form(data):
    row = {"Country": "united_states_of_america", "Subaxis": "gifts", "Story": "A person hums. Is it fine?"}
    labels = ["yes", "yes", "no", "neutral", "yes"]
    rows = [{"ID": n, **row, "Gold Label": label} for n, label in enumerate(labels)]
    write_csv(data / "normad/normad_etiquette.csv", rows)
    items, neur, control = (load_items(f"normad:{s}") for s in ("all", "neur", "ctrl"))
    assert [i.gold for i in items] == labels and [i.id for i in neur] == ["0"]
    assert items[0].question == "Country: the United States\nStory: A person hums. Is it fine?"
    for real, bare in zip(render(neur, MCF), render(control, MCF), strict=True):
        assert real.text.replace(" the United States", "").replace(" A person hums. Is it fine?", "") == bare.text
        assert (real.answers, real.gold) == (bare.answers, bare.gold)
    assert [p for p in lint("normad") if p.error] == []


def test_commonsenseqa_reads_both_forms(data, tmp_path):
    import pandas as pd

    texts = ["hat", "cup", "hat", "log", "pea"]
    nested = {"stem": "Where?", "choices": [{"label": k, "text": t} for k, t in zip("ABCDE", texts, strict=True)]}
    flat = {"question": "Where?", "question_concept": "x", "choices": {"label": list("ABCDE"), "text": texts}}
    write_json(data / "commonsenseqa/dev_rand_split.jsonl", {"id": "a", "answerKey": "D", "question": nested})
    original = load_items("commonsenseqa")
    pd.DataFrame([{"id": "a", "answerKey": "D", **flat}]).to_parquet(tmp_path / "validation.parquet")
    assert load_items(f"commonsenseqa@{tmp_path / 'validation.parquet'}") == original
    assert original[0].gold == "log" and original[0].options == tuple(texts)
    with pytest.raises(DataError, match=r"1 rows of .*; 1 left out: an option stands twice"):
        load_items("commonsenseqa:distinct")


def test_glue_reads_the_hubs_numbers_and_the_original_files(data, tmp_path):
    (data / "qnli").mkdir(parents=True)
    text = 'index\tquestion\tsentence\tlabel\n7\tWho "was?\tA man.\tnot_entailment\n8\tWhen?\tThen.\tentailment\n'
    (data / "qnli/dev.tsv").write_text(text)
    items = load_items("qnli")
    assert [i.answer for i in items] == [1, 0] and items[0].question == 'Question: Who "was?\nSentence: A man.'
    hub = [{"question": 'Who "was?', "sentence": "A man.", "label": 1, "idx": 7}]
    assert load_items(f"qnli@{write_json(tmp_path / 'rows.json', hub)}")[0] == items[0]
    assert render(items, PromptPolicy(formulation="mcf"))[0].answers == (" 0", " 1")
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    path = tmp_path / "msr_paraphrase_test.txt"
    path.write_text(header + '1\t10\t11\tHe said "no.\tHe said no.\n0\t10\t12\tA.\tB.\n', encoding="utf-8")
    mrpc = load_items(f"mrpc@{path}")
    assert [(i.id, i.answer, i.gold) for i in mrpc] == [("10-11", 1, "yes"), ("10-12", 0, "no")]
    path.rename(tmp_path / "msr_paraphrase_train.txt")
    (data / "qnli/train.tsv").write_text(text)
    for name, place in (("mrpc", f"@{tmp_path / 'msr_paraphrase_train.txt'}"), ("qnli", "")):
        train = load_items(f"{name}_train{place}")  # rows of their own, in the prompts of the test
        assert {(i.benchmark, i.template) for i in train} == {(f"{name}_train", name)} and len(train) == 2


def test_of_equally_frequent_answers_the_published_code_takes_the_first_given(data):
    # The helper writes people in reverse, so the step 2 is the first of the file.
    survey(data / "world_values", {"Q1": [1] * 6 + [2] * 6 + [1, 2] * 6}, ["Great Britain"] * 12 + ["China"] * 12)
    assert {i.id: i.gold for i in load_items("world_values")} == {"Q1/UK": "1", "Q1/China": "1"}
    assert {i.id: i.gold for i in load_items("world_values:numbers-all")} == {"Q1/UK": "2", "Q1/China": "2"}


def test_country_rc_in_the_published_design():
    neur, test = load_items("country_rc:fifty-neur"), load_items("country_rc:fifty-test")
    assert len(neur) == len(test) == 25 * 8 * 4 and not {i.id for i in neur} & {i.id for i in test}
    prompts = render(neur, PromptPolicy(formulation="mcf", wordings="all"))
    assert [p.wording for p in prompts[::25]] == ["letters-1", "letters-2", "digits-1", "digits-2"] * 8
    options = {option for i in neur for option in i.options}
    assert len(options) == 16 and all(len(set(i.options)) == 4 for i in neur)
    assert sum(i.topic == "dummy" for i in neur) == 10 * 8 * 4
    assert all(sum(option in i.question for option in i.options) >= 2 for i in neur if i.topic == "dummy")
    assert {i.answer for i in neur} == {0, 1, 2, 3} and lint("country_rc:fifty-neur") == []
    one = [i for i in neur if i.id.rpartition("/")[0] == neur[0].id.rpartition("/")[0]]
    assert len(one) == 4 and len({frozenset(i.options) for i in one}) > 1  # each wording draws its own
    assert load_items("country_rc:neur")[0].template == "passage"


def test_world_values(data, monkeypatch):
    monkeypatch.setattr("culnig.benchmarks.world_values.NEUR", 1)
    countries = ["Great Britain"] * 12 + ["Hong Kong SAR"] * 12
    answers = {
        "Q1": [1] * 7 + [2] * 5 + [1] * 6 + [2] * 6,  # a tie in Hong Kong: the lower step
        "Q2": [4] * 12 + [1] * 11 + [9],  # most unlike the world's in both; 9 is no step
        "Q3": [3] * 12 + [""] * 3 + [2] * 9,  # nine answers are too few
    }
    survey(data / "world_values", answers, countries)
    items = load_items("world_values")
    assert {i.id: i.gold for i in items} == {
        "Q1/UK": "1",
        "Q2/UK": "4",
        "Q3/UK": "3",
        "Q1/Hong Kong": "1",
        "Q2/Hong Kong": "1",
    }
    account = items.account
    assert account.rows == 8 and account.left_out == {"questions without a column": 2, "fewer than 10 answers": 1}
    assert account.notes == {"people": 24, "answers outside their scale": 1, "several answers equally frequent": 1}
    neur, test = load_items("world_values:neur"), load_items("world_values:test")
    assert {i.id for i in neur} == {"Q2/UK", "Q2/Hong Kong"} and len(neur) + len(test) == len(items)
    assert items[0].question == "Country: the United Kingdom\nQuestion: How Q1?" and items[0].scale == (1, 4)
    numbers = {i.id: i for i in load_items("world_values:numbers-all")}
    assert set(numbers) == {i.id for i in items} and numbers["Q1/UK"].question == "How Q1?"
    prompts = render([numbers["Q1/UK"]], PromptPolicy(formulation="mcf", wordings="all"))
    assert len(prompts) == 4 and len({p.system for p in prompts}) == 2 and len({p.text for p in prompts}) == 2
    assert all("the United Kingdom" in p.system and "from 1 to 4" in prompts[0].text for p in prompts)
    assert {p.answers for p in prompts} == {("1", "2", "3", "4")} and not any("2" in p.text for p in prompts)
    (control,) = render(load_items("world_values:numbers-ctrl", countries=["UK"]), PromptPolicy(formulation="mcf"))
    assert not control.system and "from 1 to 4" in control.text and "Kingdom" not in control.text
    assert render(items, MCF)[0].gold == 0 and [p for p in lint("world_values") if p.error] == []


def test_alignment_score():
    assert [_alignment((1, 4), 0, p) for p in (0, 1, 3, -1)] == [100, pytest.approx(200 / 3), 0, 0]
    assert _alignment((0, 10), 5, 7) == pytest.approx(60)


def test_scale_and_shuffle_are_kept_in_item_files(data, tmp_path):
    survey(data / "world_values", {"Q1": [1] * 10}, ["Great Britain"] * 10)
    write_csv(data / "culturalbench/CulturalBench-Easy.csv", culture_rows())
    write_csv(data / "blend/mc_questions_file.csv", blend_rows())
    write_questions(data / "blend")
    items = load_items("world_values") + load_items("culturalbench") + load_items("blend:neur")
    write_items(items, tmp_path / "items.jsonl")
    assert read_items(tmp_path / "items.jsonl") == items
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        '{"id":"1","benchmark":"b","country":"x","question":"q","options":["1","2"],"answer":0,"scale":[1,3]}'
    )
    with pytest.raises(DataError, match="has 3 steps, not 2 options"):
        read_items(bad)
