"""Public benchmarks of ability, on files of their documented schemas with invented rows: every row is accounted for."""

from __future__ import annotations

import pytest

from culnig import load_items, read_items, write_items
from culnig.errors import DataError, FetchError
from culnig.prompts import PromptPolicy, render
from tests.helpers.public_rows import ARC, BLIMP, HELLASWAG, LAMBADA, MMLU, PASSAGE, PIQA, WINOGRANDE, write_lines

CF, MCF = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")


def accounted(items):
    return items.account.rows == len(items) + sum(items.account.left_out.values())


def test_mmlu_has_no_header_and_its_subject_in_the_name(data, tmp_path):
    folder = data / "mmlu"
    folder.mkdir(parents=True)
    text = "".join(f'"{r["question"]}",{",".join(r["choices"])},{"ABCD"[r["answer"]]}\n' for r in MMLU)
    (folder / "sums_test.csv").write_text(text)
    (folder / "words_test.csv").write_text('"Which, ""x""?",a,b,c,d,B\n')
    items = load_items("mmlu")
    assert [(i.id, i.gold) for i in items] == [(f"sums/{n}", str(n)) for n in range(4)] + [("words/0", "b")]
    assert items.account.left_out == {"an option stands twice": 1} and accounted(items)
    assert items[-1].question == 'Which, "x"?' and {i.topic for i in items} == {"sums", "words"}
    dev, test = load_items("mmlu:dev"), load_items("mmlu:test")
    assert [i.id for i in dev] == ["sums/0", "sums/1"] and len(dev) + len(test) == len(items) and accounted(dev)
    assert load_items(f"mmlu@{write_lines(tmp_path / 'hub.jsonl', MMLU)}") == items[:4]
    (folder / "sums_test.csv").write_text("What?,a,b,c,A\n")
    with pytest.raises(DataError, match=r"sums_test.csv:1: 5 fields, there must be 6$"):
        load_items("mmlu")


def test_arc_reads_both_forms_and_both_kinds_of_labels(data, tmp_path):
    items = load_items(f"arc_easy@{write_lines(tmp_path / 'hub.jsonl', ARC)}")
    nested = []
    for row in ARC:
        pairs = zip(row["choices"]["label"], row["choices"]["text"], strict=True)
        choices = [{"label": label, "text": text} for label, text in pairs]
        nested.append(row | {"question": {"stem": row["question"], "choices": choices}})
        del nested[-1]["choices"]
    write_lines(data / "arc_easy/ARC-Easy-Test.jsonl", nested)
    write_lines(data / "arc_challenge/ARC-Challenge-Test.jsonl", nested)
    assert load_items("arc_easy") == items and [i.gold for i in items] == ["moon", "fog"]
    assert [i.benchmark for i in load_items("arc_challenge")] == ["arc_challenge"] * 2


def test_hellaswag_goes_on(data):
    write_lines(data / "hellaswag/hellaswag_val.jsonl", [row | {"label": int(row["label"] or 3)} for row in HELLASWAG])
    items = load_items("hellaswag")
    (first, _) = render(items, CF)
    assert (first.text, first.prefix) == ("Text: Sewing: She sews.", "")
    assert first.answers[first.gold] == " Then two. Done." and items[0].topic == "wikihow"
    assert [p.gold for p in render(items, MCF)] == [1, 3] and accounted(items)


def test_piqa_has_its_labels_in_a_file_of_their_own(data, tmp_path):
    items = load_items(f"piqa@{write_lines(tmp_path / 'hub.jsonl', PIQA)}")
    assert [(i.question, i.gold) for i in items] == [("Dry a cup", "with a cloth"), ("Wet a cup", "with water")]
    bare = [{name: row[name] for name in ("goal", "sol1", "sol2")} for row in PIQA]
    write_lines(data / "piqa/valid.jsonl", bare)
    with pytest.raises(FetchError, match=r"piqa: valid-labels.lst not found in .*piqa"):
        load_items("piqa")
    (data / "piqa/valid-labels.lst").write_text("0\n1\n")
    assert load_items("piqa") == items
    (data / "piqa/valid-labels.lst").write_text("0\n")
    with pytest.raises(DataError, match=r"valid-labels.lst: 1 labels for 2 rows; take both files from one place"):
        load_items("piqa")


def test_winogrande_compares_whole_sentences(data):
    write_lines(data / "winogrande/dev.jsonl", [{"qID": f"Q-{n}"} | row for n, row in enumerate(WINOGRANDE)])
    items, listed = load_items("winogrande"), load_items("winogrande:asked-all")
    (prompt,) = render(items, CF)
    assert prompt.answers == ("The cup fits the bag as the bag is small.", "The cup fits the bag as the cup is small.")
    assert (prompt.text, prompt.gold) == ("\n", 1) and accounted(items)
    assert items.account.left_out == {"no answer is published": 1}
    assert listed[0].options == ("the bag", "the cup") and "_ is small" in render(listed, MCF)[0].text


def test_blimp_compares_sentences_or_asks(data, tmp_path):
    rows = [row | {"pairID": str(row["pair_id"])} for row in BLIMP]
    for row in rows:
        del row["pair_id"]
    write_lines(data / "blimp/agreement_1.jsonl", rows)
    write_lines(data / "blimp/agreement_2.jsonl", [row | {"UID": "agreement_2"} for row in rows])
    items = load_items("blimp")
    assert len(items) == 6 and {i.topic for i in items} == {"agreement_1", "agreement_2"} and accounted(items)
    assert all(i.gold.endswith("sleeps.") for i in items) and {i.answer for i in items} == {0, 1}
    assert all(p.answers[p.gold].endswith("sleeps.") for p in render(items, CF))
    asked = load_items("blimp:asked-dev")
    assert [i.id for i in asked] == ["agreement_1/0", "agreement_2/0"]
    assert "Which sentence is correct English?" in render(asked, MCF)[0].text
    write_items(items, tmp_path / "items.jsonl")
    assert read_items(tmp_path / "items.jsonl") == list(items)


def test_lambada_asks_for_the_last_word_among_those_of_the_passage(data, tmp_path):
    folder = data / "lambada"
    folder.mkdir(parents=True)
    (folder / "lambada_test_plain_text.txt").write_text("\n".join(row["text"] for row in LAMBADA))
    items = load_items("lambada")
    assert [i.gold for i in items] == [" melon"] and accounted(items)
    assert items.account.left_out == {
        "the last word does not stand in the passage before": 1,
        "fewer than 3 other words of its kind in the passage": 1,
    }
    (prompt,) = render(items, CF)
    assert prompt.text == PASSAGE and len(set(prompt.answers)) == 4
    assert {a.strip() for a in prompt.answers} <= {w for w in PASSAGE.split() if w[0].islower()}
    assert load_items(f"lambada@{write_lines(tmp_path / 'hub.jsonl', LAMBADA)}") == items
    assert load_items("lambada:asked-all")[0].gold == "melon"


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("mmlu", [MMLU[0] | {"choices": ["0"]}], "rows.jsonl:1: 'choices' must hold 4 texts, not"),
        ("mmlu", [MMLU[0] | {"answer": 4}], "unknown label '4' in 'answer'; known: 0, 1, 2, 3"),
        ("arc_easy", [ARC[0] | {"answerKey": "E"}], "unknown label 'E' in 'answerKey'; known: A, B, C"),
        (
            "arc_easy",
            [ARC[0] | {"choices": None}],
            "'choices' must hold at least two labels with their texts, not None",
        ),
        (
            "arc_easy",
            [ARC[0] | {"choices": {"label": ["A", "B"], "text": ["x", "y", "z"]}}],
            "'choices' must hold at least two labels with their texts",
        ),
        ("arc_challenge", [ARC[0], ARC[0]], "the id 'x1' occurs twice"),
        ("arc_easy", PIQA, "no column 'id'; there are: goal, sol1, sol2, label"),
        ("hellaswag", [HELLASWAG[1]], "no items in 1 rows .*; 1 left out: no answer is published"),
        ("hellaswag", [HELLASWAG[0] | {"endings": ["a", "b", "c"]}], "'endings' must hold 4 texts"),
        ("piqa", [PIQA[0] | {"label": -1}], "1 left out: no answer is published"),
        ("winogrande", [WINOGRANDE[0] | {"sentence": "No gap."}], "the sentence must have one gap '_'"),
        ("winogrande", [WINOGRANDE[0] | {"answer": "3"}], "unknown label '3' in 'answer'; known: 1, 2"),
        ("blimp", [BLIMP[0], BLIMP[0]], "the pair agreement_1/0 occurs twice; first at .*rows.jsonl:1"),
        ("blimp", [BLIMP[0] | {"sentence_bad": BLIMP[0]["sentence_good"]}], "1 left out: an option stands twice"),
        ("lambada", [{"text": "word"}], "the text does not end in a word: 'word'"),
        ("lambada", [{"passage": "a b"}], "no column 'text'"),
    ],
)
def test_wrong_files_give_one_clear_line(name, rows, message, data, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        load_items(f"{name}@{write_lines(tmp_path / 'rows.jsonl', rows)}")
    assert "\n" not in str(error.value) and "rows.jsonl" in str(error.value)
