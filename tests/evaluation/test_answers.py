"""Short answers: what is generated, how it is judged, where BLEnD's questions come from, the command and the study."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
import torch
import yaml

import culnig
from culnig import Item, NeuronSet, load_items, read_items, suppress, write_items
from culnig.data import Answer
from culnig.errors import DataError, FetchError, PromptError, UsageError
from culnig.evaluation import AnswerResult, answer, compare
from culnig.evaluation.short_answers import judge
from culnig.passes.generation import _FirstLine, first_line, write_lines
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.benchmark_files import write_csv, write_json, write_questions
from tests.helpers.cli import invoke
from tests.helpers.configs import write_config

PROMPTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11"]


def asked(number, *accepted, language="en", country="UK"):
    answers = tuple(Answer((text,), (), votes) for text, votes in accepted)
    return Item(f"q{number}", "short", country, question=PROMPTS[number % 3], answers=answers, language=language)


def by_hand(lm, ids, steps):
    """Greedy, a full forward pass a token, without padding or cache."""
    row = list(ids)
    for _ in range(steps):
        row.append(int(lm.model(input_ids=torch.tensor([row])).logits[0, -1].argmax()))
    return lm.tokenizer.decode(row[len(ids) :], skip_special_tokens=True).strip()


# generation


def test_a_batch_writes_what_each_prompt_alone_would(tiny):
    ids = [tuple(tiny.tokenizer(text)["input_ids"]) for text in PROMPTS]
    together = write_lines(tiny, ids, 6)
    assert together == [by_hand(tiny, row, 6) for row in ids]
    assert len(set(together)) == 3


def test_all_that_is_written_and_the_models_own_way_to_generate(tiny):
    ids = [tuple(tiny.tokenizer(text)["input_ids"]) for text in PROMPTS]
    assert write_lines(tiny, ids, 6, whole=True) == [by_hand(tiny, row, 6) for row in ids]
    own = tiny.model.generation_config
    before = (own.do_sample, own.temperature)
    state = torch.get_rng_state()
    try:
        own.do_sample = False
        assert write_lines(tiny, ids, 6, whole=True, seed=42) == write_lines(tiny, ids, 6, whole=True)
        own.do_sample, own.temperature = True, 3.0
        sampled = [write_lines(tiny, ids, 6, whole=True, seed=seed) for seed in (42, 42, 43)]
    finally:
        own.do_sample, own.temperature = before
    assert sampled[0] == sampled[1] != sampled[2] and torch.equal(state, torch.get_rng_state())
    items = [asked(n, ("x", 1)) for n in range(3)]
    result = answer(tiny, items, max_new_tokens=6, read="all", decoding="model")
    assert (result.meta["read"], result.meta["decoding"]) == ("all", "model")


def test_a_line_ends_a_row_and_blank_lines_before_it_do_not():
    class Pieces:
        """Token ids are places in a list of texts."""

        texts = ("\n", " rice", "\n\n", "a\nb")

        def batch_decode(self, ids):
            return ["".join(self.texts[i] for i in row) for row in ids.tolist()]

    class Model:
        tokenizer = Pieces()

    stop = _FirstLine(Model(), 0)
    steps = [[0, 0, 3], [1, 0, 1], [1, 1, 1], [2, 2, 1]]
    done = [stop(torch.tensor([[row] for row in step]), torch.empty(0)).tolist() for step in steps]
    assert done == [[False, False, True], [False, False, True], [False, False, True], [True, True, True]]
    assert [first_line(text) for text in ("\n\n rice \nbread", "", " \n")] == ["rice", "", ""]


def test_suppression_changes_what_is_written(tiny, reference_dir):
    items = [asked(n, ("x", 1)) for n in range(3)]
    before = answer(tiny, items, max_new_tokens=6)
    neurons = NeuronSet.load(reference_dir / "neurons/all_neurons_blend_max.json")
    with suppress(tiny, neurons):
        inside = answer(tiny, items, max_new_tokens=6)
    with suppress(tiny, neurons, how="hooks"):
        hooked = answer(tiny, items, max_new_tokens=6)
    assert list(inside.rows["text"]) == list(hooked.rows["text"]) != list(before.rows["text"])
    assert list(answer(tiny, items, max_new_tokens=6, token_budget=1).rows["text"]) == list(before.rows["text"])


# judging


def test_votes_weigh_and_english_counts_in_other_languages():
    item = Item("a", "b", "Spain", question="?", language="es", answers=(
        Answer(("pan",), ("bread",), 4), Answer(("arroz",), ("rice",), 1),
    ))  # fmt: skip
    assert judge(item, "Arroz.") == ("arroz", 1, False)
    assert judge(item, "pan con arroz") == ("pan", 4, False)
    assert judge(item, "bread") == ("bread", 4, True)
    number = Item("a", "b", "UK", question="?", language="en", answers=(Answer(("1",)),))
    assert judge(number, "1. In January") == ("", 0, False) and judge(number, "1.") == judge(number, "1 day")
    assert judge(item, "panadería") == ("", 0, False)


def test_rows_hold_all_that_the_score_needs(tiny, tmp_path):
    written = list(answer(tiny, [asked(n, ("x", 1)) for n in range(3)], max_new_tokens=4).rows["text"])
    items = [asked(0, (written[0].split()[1], 2), ("nothing", 4)), asked(1, ("nothing", 1), language="am")]
    result = answer(tiny, items, max_new_tokens=4)
    assert list(result.rows["correct"]) == [True, False] and list(result.rows["weighted"]) == [0.5, 0.0]
    assert result.rows.loc[0, "matched"] == written[0].split()[1] and result.accuracy == 0.5
    result.save(tmp_path / "a.parquet")
    again = AnswerResult.load(tmp_path / "a.parquet")
    assert again.meta["matchers"]["am"] == {"used": "plain", "note": "no library for this language"}
    assert list(again.by_language()["language"]) == ["am", "en"]
    assert compare(again, result, "weighted").difference == 0
    assert compare(culnig.EvalResult.load(tmp_path / "a.parquet"), again).difference == 0


def test_wrong_items_and_formulations_say_so(tiny, word_items):
    with pytest.raises(PromptError, match="item q0 of short asks for a short answer: use `culnig answer`"):
        culnig.evaluate(tiny, [asked(0, ("x", 1))], formulation="cf")
    with pytest.raises(PromptError, match="has no short answers: use `culnig eval`"):
        answer(tiny, word_items)
    with pytest.raises(PromptError, match="and 100000 for the answer, the model takes"):
        answer(tiny, [asked(0, ("x", 1))], max_new_tokens=100_000)
    with pytest.raises(UsageError, match="no items"):
        answer(tiny, [])


# BLEnD


def told(question, english, answers, **idks):
    rows = [{"answers": local, "en_answers": en, "count": votes} for votes, local, en in answers]
    counts = {"idk": 0, "no-answer": 0, "not-applicable": 0} | {key.replace("_", "-"): n for key, n in idks.items()}
    return {"question": question, "en_question": english, "annotations": rows, "idks": counts}


def write_short(folder):
    write_questions(folder)
    korean = {
        "Q-01": told("무엇을 먹나요?", "What is eaten?", [(1, ["모래"], ["sand"]), (3, ["흙", "진흙"], ["clay"])]),
        "Q-02": told("어디서 일하나요?", "Where is work done?", [(2, ["집"], [])]),
        "Q-03": told("?", "?", [(1, ["x"], ["x"])]),
        "Q-04": told("?", "?", [(1, ["x"], ["x"])], no_answer=1, not_applicable=2),
    }
    english = {
        "Q-01": told("What do you eat?", "What is eaten in your country?", [(2, ["chalk"], ["chalk"])]),
        "Q-02": told("?", "?", [(1, ["x"], ["x"])], idk=5),
        "Q-04": told("?", "?", []),
    }
    write_json(folder / "annotations/South_Korea_data.json", korean)
    write_json(folder / "annotations/US_data.json", english)
    for country, words in (
        ("South_Korea", ("물음: {q}\n답: ", "말해요. {q}")),
        ("US", ("Ask: {q}\nSay:", "Tell. {q}")),
    ):
        rows = [{"id": "inst-1", "English": "?", "Translation": "?"}]
        rows += [
            {"id": n, "English": f"EN {w}", "Translation": w} for n, w in zip(("inst-4", "pers-3"), words, strict=True)
        ]
        write_csv(folder / f"prompts/{country}_prompts.csv", rows)


def test_blend_short(data):
    write_short(data / "blend")
    items = load_items("blend_short:neur")
    assert [(i.id, i.language) for i in items] == [
        ("Q-01/South Korea/0", "ko"), ("Q-01/South Korea/1", "ko"),
        ("Q-02/South Korea/0", "ko"), ("Q-02/South Korea/1", "ko"),
        ("Q-01/USA/0", "en"), ("Q-01/USA/1", "en"),
    ]  # fmt: skip
    assert items[0].prompt == "물음: 무엇을 먹나요?\n답:" and items[1].prompt == "말해요. 무엇을 먹나요?"
    assert items[0].answers == (Answer(("흙", "진흙"), ("clay",), 3), Answer(("모래",), ("sand",), 1))
    assert items[0].gold == "흙" and items[0].topic == "Food"
    account = items.account
    assert account.rows == 7 and sum(account.left_out.values()) == 4 and account.left_out == {
        "topics of the other split": 1,
        "at least 3 people found it not applicable or gave no answer": 1,
        "at least 5 people did not know": 1,
        "nobody gave an answer in this language": 1,
    }  # fmt: skip
    english = load_items("blend_short:en-neur", draws=1)
    assert [i.prompt for i in english] == [
        "EN 물음: What is eaten?\n답:",
        "EN Ask: What is eaten in the United States?\nSay:",
    ]
    assert {i.language for i in english} == {"en"} and english[0].answers[0] == Answer(("clay",), (), 3)
    assert english.account.left_out["nobody gave an answer in this language"] == 2  # one has local texts only


def test_the_published_short_answers(data):
    """Every answered question of the test topics, with a wording drawn by the published seed and in its order."""
    folder = data / "blend"
    write_short(folder)
    for country in ("US", "South_Korea"):
        rows = [{"ID": f"Q-{n:02d}", "Topic": "Family" if n > 4 else "Food", "Question": "?"} for n in range(1, 30)]
        write_csv(folder / f"questions/{country}_questions.csv", rows)
        made = {
            f"Q-{n:02d}": told(f"{country} {n}?", "?", [(2, [f"a{n}"], ["c"]), (0, ["x"], [])], idk=9)
            for n in range(30)[1:]
        }
        made |= {"Q-29": told("nobody knows", "?", [(0, ["x"], ["x"])])}
        write_json(folder / f"annotations/{country}_data.json", made)
    items = load_items("blend_short:published")
    rng = random.Random(42)
    wordings = {"US": ["?", "Ask: {q}\nSay:", "Tell. {q}"], "South_Korea": ["?", "물음: {q}\n답: ", "말해요. {q}"]}
    drawn = [rng.choice(wordings[c]).replace("{q}", f"{c} {n}?").rstrip() for c in wordings for n in range(5, 29)]
    assert [item.prompt for item in items] == drawn and "?" in drawn  # one wording has no place for the question
    assert items[0].answers == (Answer(("a5",), (), 2),) and [i.country for i in items[23:25]] == ["USA", "South Korea"]
    assert items.account.rows == len(items) + sum(items.account.left_out.values()) == 58
    assert items.account.left_out["nobody gave an answer in this language"] == 2


def test_blend_short_says_what_is_missing(data):
    write_short(data / "blend")
    prompts = data / "blend/prompts/US_prompts.csv"
    write_csv(prompts, [{"id": "inst-4", "English": "no slot", "Translation": "{q}"}])
    with pytest.raises(DataError, match=r"US_prompts.csv:2: the wording inst-4 has no \{q\}"):
        load_items("blend_short:en-neur")
    with pytest.raises(DataError, match="the prompts of USA lack pers-3"):
        load_items("blend_short:neur")
    prompts.unlink()
    with pytest.raises(DataError, match="no prompts for USA"):
        load_items("blend_short:neur")
    (data / "blend/prompts/South_Korea_prompts.csv").unlink()
    with pytest.raises(FetchError, match=r"the prompts .* not found in .*blend; take the folder data/ of github"):
        load_items("blend_short:neur")


# item files, the command, the study


def test_item_files_round_trip_and_broken_rows(tmp_path):
    items = [
        asked(0, ("x", 2), ("y", 1)),
        Item("p", "b", "Iran", prompt="say", answers=(Answer((), ("A",)),), language="fa"),
    ]
    write_items(items, tmp_path / "items.jsonl")
    assert read_items(tmp_path / "items.jsonl") == items
    row = {"id": "a", "benchmark": "b", "country": "Iran", "question": "?", "language": "fa", "answers": ["x"]}
    for change, why in (
        ({"language": ""}, "needs its 'language'"),
        ({"answers": []}, "at least one answer"),
        ({"answers": [{"texts": [""]}]}, "an answer needs 'texts'"),
        ({"answers": [{"texts": ["x"], "votes": 0}]}, "votes must be"),
        ({"question": ""}, "needs a question or a prompt"),
    ):
        (tmp_path / "bad.jsonl").write_text(json.dumps(row | change) + "\n")
        with pytest.raises(DataError, match=f"bad.jsonl:1: .*{why}"):
            read_items(tmp_path / "bad.jsonl")


@pytest.fixture(scope="module")
def short_items(tmp_path_factory):
    """Questions in two languages; common words of the vocabulary count as right."""
    path = tmp_path_factory.mktemp("short") / "short.jsonl"
    items = []
    for n in range(12):
        accepted = tuple(Answer((f"w{k}",), (), 1 + k % 3) for k in range(n * 30, n * 30 + 40))
        items.append(Item(f"{n}", "short", ("UK", "Ethiopia")[n % 2], question=f"w{n} w{n + 5}", answers=accepted, language=("en", "am")[n % 2]))  # fmt: skip
    write_items(items, path)
    return path


def test_command(tmp_path, reference_dir, short_items):
    out = tmp_path / "a.parquet"
    common = [
        "answer",
        "--model",
        reference_dir,
        "--items",
        short_items,
        "--chat-template",
        "off",
        "--max-new-tokens",
        4,
    ]
    neurons = ["--neurons", reference_dir / "neurons/all_neurons_blend_max.json"]
    done = invoke(*common, *neurons, "--op", "scale=0.5", "--out", out, "--json")
    facts = json.loads(done.stdout)
    assert (
        done.exit_code == 0 and facts["rows"] == 12 and [row["language"] for row in facts["languages"]] == ["am", "en"]
    )
    assert AnswerResult.load(out).meta["intervention"]["operation"] == "scale=0.5"
    shown = invoke(*common, "--out", tmp_path / "b.parquet")
    assert "am: words are compared as written (no library for this language)" in shown.output
    assert "am" in shown.stdout and "right" in shown.stdout
    assert "w0" in invoke("data", "show", short_items).output
    assert invoke("stats", out, tmp_path / "b.parquet", "--by", "language").exit_code == 0


@pytest.mark.slow
def test_study(tmp_path, reference_dir, short_items):
    path = write_config(tmp_path, reference_dir)
    settings = yaml.safe_load(path.read_text())
    settings["studies"] = ["short_answers"]
    settings["test"].append({"role": "short", "items": str(short_items)})
    path.write_text(yaml.safe_dump(settings))
    finished = run(load_config(path), tmp_path / "run")
    table = pd.read_parquet(finished.path / "tables/short-by-language.parquet").set_index(["condition", "language"])
    assert set(table.index) == {
        (c, lang) for c in ("none", "culture-general", "random-0", "random-1") for lang in ("am", "en")
    }
    rows = pd.read_parquet(finished.path / "evals/short/culture-general.parquet")
    assert table.loc[("culture-general", "en"), "accuracy"] == rows.loc[rows["language"] == "en", "correct"].mean()
    assert not (finished.path / "evals/test/none.parquet").exists()  # no other study asked for it
    assert "Short answers" in (finished.path / "report.html").read_text()
    assert "culture_general" in finished.results["short_answers"]
    settings["test"].pop()
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(UsageError, match="needs a test set of the role short"):
        run(load_config(path), tmp_path / "other")
