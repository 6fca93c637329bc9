"""Prompts: rendering, chat templates, labels."""

from __future__ import annotations

import dataclasses

import pytest

from culnig import Item
from culnig.errors import PromptError, UsageError
from culnig.prompts import PromptPolicy, encode, render

ITEM = Item(
    id="1", benchmark="b", country="Iran", question="What {is} it?", options=("tea", "a {b}", "x", "y"), answer=1
)


def policy(**kw):
    return PromptPolicy(**{"formulation": "mcf", **kw})


def test_mcf_and_cf_texts():
    mcf = render([ITEM], policy(wordings="all"))
    assert [p.wording for p in mcf] == ["letters-1", "letters-2", "digits-1", "digits-2"]
    assert "Question: What {is} it?\nA. tea\nB. a {b}" in mcf[0].text and mcf[0].answers == (" A", " B", " C", " D")
    assert mcf[2].answers == (" 1", " 2", " 3", " 4")
    cf = render([ITEM], policy(formulation="cf"))[0]
    assert (cf.text, cf.prefix, cf.answers[1]) == ("Question: What {is} it?", "Answer:", " a {b}")


def test_control_is_the_same_prompt_without_the_question():
    control = dataclasses.replace(ITEM, question="", control=True)
    for real, bare in zip(
        render([ITEM], policy(wordings="all")), render([control], policy(wordings="all")), strict=True
    ):
        assert "it?" not in bare.text and "a {b}" in bare.text
        assert (real.prefix, real.answers) == (bare.prefix, bare.answers)
    assert render([control], policy(formulation="cf"))[0].text == "Question:"


def test_too_many_wordings_or_no_template():
    with pytest.raises(PromptError, match="wordings asked for"):
        render([ITEM], policy(wordings=9))
    with pytest.raises(UsageError, match="no prompt template"):
        render([ITEM], policy(template="haiku"))


def test_own_template_file(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("cf:\n  wordings:\n    - {id: a, text: 'Q {question}', control: 'Q', prefix: '>', join: ''}\n")
    prompt = render([ITEM], policy(formulation="cf", template=str(path)))[0]
    assert prompt.text == "Q What {is} it?" and prompt.answers[0] == "tea"


def test_a_wording_with_a_system_message_and_numbers_as_labels(tmp_path, own_tokenizer):
    path = tmp_path / "t.yaml"
    path.write_text(
        "mcf:\n  wordings:\n    - {id: a, system: 'From {country}.', text: '{question} {low}-{high}', control: '{low}-{high}',"
        " labels: options, join: ''}\n"
    )
    item = Item("1", "b", "UK", "What {low}?", tuple(map(str, range(1, 11))), 9, scale=(1, 10))
    p = policy(template=str(path), chat_template="off")
    prompts = render([item], p)
    assert (prompts[0].system, prompts[0].text) == ("From the United Kingdom.", "What {low}? 1-10")
    assert prompts[0].answers[-1] == "10" and render([dataclasses.replace(item, question="")], p)[0].system == ""
    words = render(
        [dataclasses.replace(item, options=("w1", "w2", "w3"), answer=1)], p
    )  # words that this tokenizer has
    assert words[0].answers == ("w1", "w2", "w3")
    own_tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    chat = policy(template=str(path), chat_template="on")
    spoken = own_tokenizer.apply_chat_template(
        [{"role": "system", "content": "From the United Kingdom."}, {"role": "user", "content": "What {low}? 1-10"}],
        tokenize=False,
    )
    expected = own_tokenizer(spoken, add_special_tokens=False)["input_ids"]
    assert list(encode(words, own_tokenizer, chat)[0].prompt_ids)[: len(expected)] == expected


@pytest.mark.model
def test_a_number_of_two_tokens_is_read_as_its_first_digit(smol):
    """As in the published code: the greedy next token of a right 10 is 1, which is another step of the scale."""
    import culnig

    item = Item(
        "1", "b", "UK", "How much?", tuple(map(str, range(1, 11))), 9, scale=(1, 10), template="world_values_numbers"
    )
    (row,) = encode(render([item], policy()), smol.tokenizer, policy())
    assert [len(ids) for ids in row.answer_ids] == [1] * 9 + [2] and row.answer_ids[9][0] == row.answer_ids[0][0]
    result = culnig.evaluate(smol, [item], policy=policy())
    assert result.rows["prediction"].item() != 9 and len(result.rows["option_logprobs"].item()) == 10


def test_one_wording_of_a_template():
    one = dataclasses.replace(ITEM, template="question#digits-2")
    assert [p.wording for p in render([one], policy(wordings="all"))] == ["digits-2"]
    assert len(render([one], policy(formulation="cf", wordings="all"))) == 2
    with pytest.raises(UsageError, match="'question#haiku' has no such wording"):
        render([dataclasses.replace(ITEM, template="question#haiku")], policy())


def test_hashes_of_templates_stay():
    """A field that no wording uses changes no hash, so that earlier runs go on."""
    from culnig.files import sha256_json
    from culnig.prompts import load_template, template_hash

    before = [load_template("question").mcf.model_dump()]
    for wording in before[0]["wordings"]:
        assert wording.pop("system") == ""
    assert template_hash([ITEM], policy()) == sha256_json(before)


@pytest.mark.model
def test_chat_template_policy(smol):
    tokenizer = smol.tokenizer

    def text(**kw):
        p = policy(**kw)
        return tokenizer.decode(encode(render([ITEM], p), tokenizer, p)[0].prompt_ids)

    assert text(formulation="mcf").startswith("<|im_start|>system") and text(formulation="mcf").endswith(
        "assistant\nAnswer:"
    )
    assert text(formulation="cf") == text(formulation="cf", chat_template="off") == "Question: What {is} it?\nAnswer:"
    assert "<|im_start|>user" in text(formulation="cf", chat_template="on")
    assert "Be brief" in text(system="Be brief")
    assert text(formulation="cf", bos="on").startswith("<|im_start|>Question")


@pytest.mark.model
def test_labels_are_one_token_in_context(smol):
    p = policy()
    encoded = encode(render([ITEM], p), smol.tokenizer, p)[0]
    assert encoded.in_context and [smol.tokenizer.decode(a) for a in encoded.answer_ids] == [" A", " B", " C", " D"]


@pytest.mark.model
def test_a_blank_before_digits_belongs_to_the_prompt(smol):
    """This tokenizer, like most, keeps blank and digit apart."""
    p = policy(wordings="all", chat_template="off")
    digits = encode(render([ITEM], p), smol.tokenizer, p)[2]
    assert digits.in_context and [smol.tokenizer.decode(a) for a in digits.answer_ids] == ["1", "2", "3", "4"]
    assert smol.tokenizer.decode(digits.prompt_ids).endswith("Answer: ")


def test_options_are_shuffled_by_item_and_wording():
    items = [dataclasses.replace(ITEM, id=str(n), shuffle=True) for n in range(40)]
    prompts = render(items, policy(wordings="all"))
    assert {p.gold for p in prompts} == {0, 1, 2, 3} and prompts == render(items, policy(wordings="all"))
    for p in prompts[::4]:
        assert p.text.splitlines()[3 + p.gold].endswith("a {b}")
    assert len({tuple(p.gold for p in prompts[w::4]) for w in range(4)}) == 4
    assert all(p.gold == 1 for p in render(items, policy(formulation="cf")))


def test_labels_of_ones_own_and_from_zero(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        "mcf:\n  wordings:\n    - {id: a, text: '{question} {options}', control: '{options}', labels: [yes, no]}\n"
        "    - {id: b, text: '{question}', control: '', labels: digits-from-0}\n".replace("yes, no", "'yes', 'no'")
    )
    two = dataclasses.replace(ITEM, options=("tea", "rice"))
    first, second = render([two], policy(template=str(path), wordings="all"))
    assert first.answers == (" yes", " no") and second.answers == (" 0", " 1")
    with pytest.raises(PromptError, match="4 options, but only 2 labels"):
        render([ITEM], policy(template=str(path)))


def test_encoding_refuses(tiny):
    ready = Item(id="1", benchmark="b", country="Iran", prompt="w1 w2", target="Z")
    with pytest.raises(PromptError, match="unknown to the tokenizer"):
        encode(render([ready], policy()), tiny.tokenizer, policy())
    long = dataclasses.replace(ready, target="A", prompt="w1 " * 200)
    with pytest.raises(PromptError, match="the model takes 128"):
        encode(render([long], policy()), tiny.tokenizer, policy(), tiny.max_length)
    with pytest.raises(PromptError, match="no chat template"):
        encode(render([ready], policy()), tiny.tokenizer, policy(chat_template="on"))
    with pytest.raises(PromptError, match="at least two options"):
        cf = policy(formulation="cf")
        encode(render([dataclasses.replace(ready, target="A")], cf), tiny.tokenizer, cf)
    tiny_broken = type(
        "T", (), {"chat_template": "x", "bos_token_id": None, "apply_chat_template": lambda *a, **k: 1 / 0}
    )()
    with pytest.raises(PromptError, match="chat template fails on item 1"):
        encode(render([ready], policy()), tiny_broken, policy())


def test_encoding_is_kept_and_the_rest_is_not_confused(tiny, word_items):
    from culnig.prompts import PromptPolicy, encode, render

    cf, mcf = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")
    first = encode(render(word_items, cf), tiny.tokenizer, cf)
    again = encode(render(word_items, cf), tiny.tokenizer, cf)
    assert again == first and again is not first and all(a is b for a, b in zip(first, again, strict=True))
    assert encode(render(word_items, mcf), tiny.tokenizer, mcf) != first
    assert encode(render(word_items[:3], cf), tiny.tokenizer, cf) == first[:3]


NAMED = {"default": "user: {{ messages[-1].content }} assistant:", "tool_use": "tools {{ messages[-1].content }}"}


@pytest.mark.parametrize(
    "templates", [NAMED, [{"name": name, "template": text} for name, text in NAMED.items()]], ids=["mapping", "list"]
)
def test_of_several_chat_templates_the_default_is_used(own_tokenizer, word_items, templates):
    """Some models ship templates by name: for tools, for retrieval, and a default."""
    prompts = render(word_items[:3], policy())
    own_tokenizer.chat_template = NAMED["default"]
    expected = encode(prompts, own_tokenizer, policy())
    assert "chat_template_name" not in policy().resolved(own_tokenizer)
    own_tokenizer.chat_template = templates
    assert encode(prompts, own_tokenizer, policy()) == expected
    assert encode(prompts, own_tokenizer, policy(chat_template="off")) != expected
    recorded = policy().resolved(own_tokenizer)
    assert recorded["chat_template"] == "on" and recorded["chat_template_name"] == "default"


def test_several_chat_templates_without_a_default(own_tokenizer, word_items):
    own_tokenizer.chat_template = {"tool_use": "a", "rag": "b"}
    with pytest.raises(PromptError, match=r"several chat templates \(rag, tool_use\) and none is named 'default'"):
        encode(render(word_items[:3], policy()), own_tokenizer, policy())
    for off in ({"chat_template": "off"}, {"formulation": "cf"}):
        p = policy(**off)
        assert (
            encode(render(word_items[:3], p), own_tokenizer, p) and p.resolved(own_tokenizer)["chat_template"] == "off"
        )


@pytest.fixture
def own_tokenizer():
    """A tokenizer that a test may change."""
    from tests.helpers import tiny_models

    return tiny_models.tokenizer()
