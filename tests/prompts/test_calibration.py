"""Calibration: which prompts measure an item's offsets, and what the offsets do to log-probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from culnig import Item
from culnig.data.countries import BLEND, resolve
from culnig.errors import UsageError
from culnig.prompts import PromptConfig, PromptPolicy, make_policy, render
from culnig.prompts.calibration import OTHERS, Offsets, check_calibration, measured_for, prior_items

ASKED = "What do people in {country} eat on New Year's Day?"
ITEM = Item("1", "b", "Iran", ASKED.format(country="Iran"), ("tea", "a bun", "fish soup"), 1)


def test_pmi_asks_without_the_question_and_nothing_else():
    (bare,) = prior_items(ITEM, "pmi")
    assert bare == dataclasses.replace(ITEM, question="")
    assert prior_items(dataclasses.replace(ITEM, prompt="What?", target="tea"), "pmi") == []


def test_contrast_asks_three_other_countries():
    asked = prior_items(ITEM, "contrast")
    assert len(asked) == OTHERS and len({item.question for item in asked}) == OTHERS
    assert all("Iran" not in item.question and item.options == ITEM.options for item in asked)
    assert all(any(resolve(name).phrase in item.question for name in BLEND) for item in asked)
    assert prior_items(ITEM, "contrast") == asked  # the same on every call


@pytest.mark.parametrize(("country", "written"), [("USA", "the United States"), ("UK", "the UK"), ("USA", "the U.S.")])
def test_contrast_finds_other_spellings_with_their_article(country, written):
    item = dataclasses.replace(ITEM, country=country, question=ASKED.format(country=written))
    others = {ASKED.format(country=resolve(name).phrase) for name in BLEND if name != country}
    assert {asked.question for asked in prior_items(item, "contrast")} <= others


def test_contrast_capitalises_the_article_at_the_start():
    item = dataclasses.replace(ITEM, country="USA", question="The United States eat what?")
    starts = {asked.question.split(" eat")[0] for asked in prior_items(item, "contrast")}
    assert all(start[0].isupper() for start in starts)
    named = dataclasses.replace(ITEM, country="Turkey", question="What do people in Turkey eat?")
    assert all(" in The " not in asked.question for asked in prior_items(named, "contrast"))


def test_contrast_leaves_kin_out_and_needs_a_name():
    item = dataclasses.replace(ITEM, country="South Korea", question=ASKED.format(country="South Korea"))
    for number in range(30):
        twins = prior_items(dataclasses.replace(item, question=f"{item.question} {number}"), "contrast")
        assert not any("North Korea" in twin.question for twin in twins)
    assert prior_items(dataclasses.replace(ITEM, question="What do they eat?"), "contrast") == []
    assert prior_items(dataclasses.replace(ITEM, country="none"), "contrast") == []


def test_countries_asked_one_question_share_their_prompts():
    asked = [
        dataclasses.replace(ITEM, country=name, question=ASKED.format(country=resolve(name).phrase)) for name in BLEND
    ]
    prompts = {twin.question for item in asked for twin in prior_items(item, "contrast")}
    assert len(prompts) <= OTHERS + 2  # another only where an item's own country or its kin is among the three


def test_what_the_offsets_do():
    logprobs = np.array([-4.0, -6.0, -9.0])
    offsets = Offsets((3, 5, 10), pmi=(-1.0, -5.0, -6.0), contrast=(-4.5, -5.5, -9.0))
    np.testing.assert_array_equal(offsets.calibrated(logprobs, "none"), logprobs)
    np.testing.assert_array_equal(offsets.calibrated(logprobs, "pmi"), [-3.0, -1.0, -3.0])
    np.testing.assert_array_equal(offsets.calibrated(logprobs, "contrast"), [0.5, -0.5, 0.0])
    # As lm-evaluation-harness's acc_norm orders them, in nats of an option of mean length.
    np.testing.assert_allclose(offsets.calibrated(logprobs, "length"), logprobs / [3, 5, 10] * 6)


def test_what_has_no_offsets_is_told():
    assert Offsets((1, 1), pmi=(0.0, 0.0)).applied("contrast") == "pmi"
    assert Offsets((1, 1)).applied("contrast") == Offsets((1, 1)).applied("pmi") == "none"
    assert measured_for("culture", "pmi") == ("pmi", "contrast") and measured_for("ability", "pmi") == ("pmi",)
    assert measured_for("culture", "none") == ()


def test_settings():
    assert PromptConfig().policy("cf").calibration == "pmi" and PromptConfig().policy("mcf").calibration == "none"
    assert PromptPolicy(formulation="cf").calibration == "none"
    assert PromptConfig(calibration="pmi").policy("mcf").for_writing.calibration == "none"
    for wrong in ({"formulation": "mcf", "calibration": "length"}, {"formulation": "cf", "orders": "cyclic"}):
        with pytest.raises(UsageError):
            make_policy(wrong)
    with pytest.raises(UsageError, match="calibration what"):
        make_policy({"formulation": "cf", "calibration": "what"})
    with pytest.raises(UsageError, match="unknown calibration"):
        check_calibration("what")


def test_cyclic_orders_put_the_answer_everywhere_once():
    prompts = render([ITEM], PromptPolicy(formulation="mcf", orders="cyclic"))
    assert [p.wording for p in prompts] == ["letters-1/0", "letters-1/1", "letters-1/2"]
    assert sorted(p.gold for p in prompts) == [0, 1, 2]
    for prompt in prompts:
        assert f"{'ABC'[prompt.gold]}. a bun" in prompt.text
