"""Templates and items made from a clone of the published repository; the clone here is invented."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter

import pytest

from culnig.data import Item, load_items, read_items
from culnig.errors import DataError, UsageError
from culnig.prompts import PromptPolicy, render
from culnig.prompts.published import read_clone, save_all, template_of
from tests.helpers.cli import invoke, use
from tests.helpers.published import PASSAGES, TEXTS, clone, imported, known_as_published


def _rendered(made, item):
    return render([item], PromptPolicy(template=str(made), wordings="all"))


def _item(benchmark, question, options, answer=0, **more):
    fields = {"id": "7", "benchmark": benchmark, "country": "UK", "template": benchmark}
    return Item(**fields | {"question": question, "options": options, "answer": answer} | more)


def _seeded(text):
    return random.Random(int(hashlib.md5(text.encode()).hexdigest()[:8], 16))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return imported(tmp_path_factory.mktemp("published"))


def test_options_are_drawn_as_published(made):
    options = ("o1", "o2", "o3", "o4")
    prompts = _rendered(made, _item("culturalbench", "Why?", options, answer=2, shuffle=True))
    for prompt, text in zip(prompts, TEXTS["CULTURALBENCH_PROMPTS"], strict=True):
        _seeded(f"7_{text}").shuffle(shown := list(options))
        slots = {f"option_{letter}": option for letter, option in zip("abcd", shown, strict=True)}
        assert prompt.text == text.format(question="Why?", **slots)
        assert prompt.answers[prompt.gold] == "ABCD"[shown.index("o3")] and prompt.prefix == ""


def test_labels_are_drawn_as_published(made):
    question = "Country: the United Kingdom\nStory: They meet.\nTwice."
    prompts = _rendered(made, _item("normad", question, ("yes", "no", "neutral"), answer=1, shuffle=True))
    for prompt, text in zip(prompts, TEXTS["NORMAD_PROMPTS"], strict=True):
        _seeded(f"7_{text}").shuffle(numbers := [1, 2, 3])
        named = sorted(zip(numbers, ("yes", "no", "neutral"), strict=True))
        options = ", ".join(f"{number}: {name}" for number, name in named)
        assert prompt.text == text.format(country="united_kingdom", story="They meet.\nTwice.", options=options)
        assert prompt.answers[prompt.gold] == str(numbers[1])
    far = _item("normad", "Country: South Korea\nStory: A.", ("yes", "no", "neutral"), country="South Korea")
    assert "place: south_korea\n" in _rendered(made, far)[0].text
    control = _item("normad", "Country:\nStory:", ("yes", "no", "neutral"), control=True)
    assert "place: \nTale: \nChoose" in _rendered(made, control)[0].text


def test_lines_of_a_question_stand_where_they_did(made):
    pair = _item("mrpc", "First sentence: A {line2}.\nSecond sentence: B.", ("no", "yes"), answer=1, country="none")
    prompts = _rendered(made, pair)
    assert [p.text for p in prompts] == [
        t.format(sentence1="A {line2}.", sentence2="B.") for t in TEXTS["MRPC_PROMPTS"]
    ]
    assert prompts[0].answers == ("0", "1")
    survey = _item("world_values_numbers", "How much?", tuple("1234"), scale=(1, 4))
    first, _, _, last = _rendered(made, survey)
    assert (first.system, first.text) == ("Live in Great Britain.", "Asked 1: How much?\nFrom 1 to 4.")
    assert (last.system, last.text[:7], last.wording) == ("Be from Great Britain.", "Asked 2", "persona-2-range-2")
    assert _rendered(made, _item("qnli", "", ("yes", "no"), control=True))[0].text.endswith("say?\nReply 0 or 1.")


def test_passages_are_drawn_as_published(made):
    half = read_items(made / "country_rc-neur.jsonl")
    assert Counter(item.country for item in half) == dict.fromkeys({item.country for item in half}, 12)
    text = TEXTS["COUNTRYRC_PROMPTS"][2]
    (item,) = (one for one in half if one.id == "1/Iran/2")
    (prompt,) = _rendered(made, item)
    rng = _seeded(f"{PASSAGES[1]['context']}_Where?_{text}_Iran")
    pool = ["USA", "UK", "China", "Mexico", "Spain", "Greece", "Indonesia"]
    rng.shuffle(options := [*rng.sample(pool, 3), "Iran"])
    dummy = rng.choice([name for name in options if name != "Iran"])
    passage = PASSAGES[1]["context"].format(country="Iran", country_dummy=dummy)
    slots = {f"option_{letter}": option for letter, option in zip("abcd", options, strict=True)}
    assert prompt.text == text.format(passage=passage, question="Where?", **slots)
    assert prompt.answers[prompt.gold] == str(options.index("Iran") + 1)
    rest = read_items(made / "country_rc-test.jsonl")
    assert {item.id[0] for item in half} == set("012") and {item.id[0] for item in rest} == set("345")


def test_a_folder_stands_for_the_templates_it_has(made):
    own = load_items("everyday:test")[:1]
    assert render(own, PromptPolicy(template=str(made))) == render(own, PromptPolicy())
    shown = invoke("data", "show", "country_rc:fifty-neur", "-n", "1", "--formulation", "mcf", "--template", made)
    assert shown.exit_code == 0 and "Read 0.\n\ntext: " in shown.output


def test_another_clone_is_said(tmp_path, capsys, monkeypatch):
    folder = clone(tmp_path / "clone")
    code, said, warned = use(capsys, monkeypatch, "data", "import-published", folder, "--out", tmp_path / "made")
    assert code == 0 and said.count("differs") == 9 and "9 of 9 files are not what the published revision" in warned
    known_as_published(monkeypatch, tmp_path / "made")
    done = invoke("data", "import-published", folder, "--out", tmp_path / "again")
    assert done.output.count("as published") == 9 and "warning" not in done.output
    facts = json.loads(invoke("data", "import-published", folder, "--out", tmp_path / "again", "--json").output)
    assert len(facts["files"]) == 9 and all(facts["files"].values())


def test_what_is_no_clone(tmp_path, capsys, monkeypatch):
    code, _, said = use(capsys, monkeypatch, "data", "import-published", tmp_path / "none")
    assert code == 2 and said.count("\n") == 1 and "it has no prompts.py; give the folder of a clone" in said
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"holds no prompt template \(NAME.yaml\)"):
        render(load_items("everyday:test")[:1], PromptPolicy(template=str(empty)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("CULTURALBENCH_PROMPTS", "{question} no options", "does not list its options as"),
        ("CULTURALBENCH_PROMPTS", "A. {option_a}\nC. {option_b}\nB. {option_c}", "labels of a text are not in order"),
        ("QNLI_PROMPTS", "{question} {paragraph}", "not in the published revision: 'paragraph'"),
        ("QNLI_PROMPTS", "{question", "expected '}'"),
    ],
)
def test_another_layout_is_said(name, text, message, tmp_path):
    read = read_clone(clone(tmp_path / "clone", TEXTS | {name: [text]}))
    with pytest.raises(DataError, match=message):
        list(save_all(read, tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_what_a_clone_lacks_is_said(tmp_path):
    folder = clone(tmp_path / "clone", {name: texts for name, texts in TEXTS.items() if name != "MRPC_PROMPTS"})
    with pytest.raises(DataError, match=r"prompts.py: it has no list MRPC_PROMPTS"):
        template_of(read_clone(folder), "mrpc")
    (folder / "dataset.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="it has no table COUNTRY_TO_NAME"):
        read_clone(folder)
    (folder / "prompts.py").write_text("x = (\n")
    with pytest.raises(DataError, match="not Python"):
        read_clone(folder)


def test_broken_passages_are_said(tmp_path):
    folder = clone(tmp_path / "clone")
    (folder / "data" / "CountryRC" / "data.json").write_text('[{"id": "1"}, {"id": "2"}]')
    with pytest.raises(DataError, match=r"a passage is not as in the published revision: 'context'"):
        list(save_all(read_clone(folder), tmp_path / "made"))
    (folder / "data" / "CountryRC" / "data.json").unlink()
    with pytest.raises(UsageError, match=r"data\.json"):
        list(save_all(read_clone(folder), tmp_path / "made"))
