"""Replacement by means: exact values, nesting, restoring, files of means, and the words for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig import Means, Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.intervention import Operation
from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models
from tests.helpers.edits import logits, same, snapshot
from tests.helpers.tolerances import output_tolerance

CF, MCF = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")


@pytest.fixture(scope="module")
def items(word_items):
    return word_items[:5]


SET = NeuronSet([Neuron("mlp.gate_proj", 1, 5), Neuron("mlp.gate_proj", 1, 7), Neuron("self_attn.v_proj", 2, 3)])


@pytest.fixture(scope="module")
def lm():
    return LanguageModel(tiny_models.build("llama"), tiny_models.tokenizer(), name="llama")


@pytest.fixture(scope="module")
def means(lm, items):
    return culnig.mean_values(lm, items, policy=MCF)


def test_the_value_is_the_number(lm, means):
    for how in ("weights", "hooks"):
        with culnig.replace(lm, SET, dict.fromkeys(SET, 0.25), how=how):
            seen = {}
            module = lm.sites["mlp.gate_proj", 1].module
            handle = module.register_forward_hook(lambda m, a, out, seen=seen: seen.update(out=out))
            logits(lm)
            handle.remove()
        assert (seen["out"][..., [5, 7]] == 0.25).all() and seen["out"][..., 6].std() > 0


def test_restored_whatever_happens(lm, means):
    state = snapshot(lm)
    for how in ("weights", "hooks"):
        with pytest.raises(RuntimeError, match="inside"), culnig.replace(lm, SET, means, how=how):
            raise RuntimeError("inside")
        assert same(lm, state) and lm.sites["mlp.gate_proj", 1].module.bias is None


@pytest.mark.parametrize("outer", ["weights", "hooks"])
@pytest.mark.parametrize("inner", ["auto", "hooks"])
def test_nested(lm, means, outer, inner):
    """The inner block works on what the outer one gives, however both are done."""
    state, untouched = snapshot(lm), logits(lm)
    halved = {neuron: 0.5 * float(means.of(neuron.site, [neuron.index])[0]) for neuron in SET}
    with culnig.replace(lm, SET, halved):
        half = logits(lm)
    with culnig.replace(lm, SET, means):
        replaced = logits(lm)
    with culnig.suppress(lm, SET):
        silent = logits(lm)
    atol = output_tolerance(lm, untouched)
    with culnig.replace(lm, SET, means, how=outer):
        with culnig.scale(lm, SET, 0.5, how=inner):
            torch.testing.assert_close(logits(lm), half, rtol=0, atol=atol)
        with culnig.suppress(lm, SET, how=inner):
            torch.testing.assert_close(logits(lm), silent, rtol=0, atol=atol)
            with lm.untouched():
                assert torch.equal(logits(lm), untouched) and same(lm, state)
                with lm.untouched():
                    assert torch.equal(logits(lm), untouched)
                assert torch.equal(logits(lm), untouched) and same(lm, state)
            torch.testing.assert_close(logits(lm), silent, rtol=0, atol=atol)
        torch.testing.assert_close(logits(lm), replaced, rtol=0, atol=atol)
    with culnig.scale(lm, SET, 3.0, how=outer), culnig.replace(lm, SET, means, how=inner):
        torch.testing.assert_close(logits(lm), replaced, rtol=0, atol=atol)
    assert same(lm, state)


def test_means_are_those_of_the_untouched_model(lm, items, means):
    with culnig.replace(lm, SET, means), culnig.suppress(lm, SET, how="hooks"):
        again = culnig.mean_values(lm, items, policy=MCF)
    for module, values in means.values.items():
        np.testing.assert_array_equal(again.values[module], values)


def test_means_do_not_depend_on_batches_or_calibration(lm, items):
    pmi = CF.model_copy(update={"calibration": "pmi"})
    a, b = culnig.mean_values(lm, items, policy=CF), culnig.mean_values(lm, items, policy=pmi, token_budget=40)
    for module, values in a.values.items():
        np.testing.assert_allclose(b.values[module], values, atol=1e-5 * np.abs(values).max())
    assert not lm.offsets


def test_saved_and_checked(lm, means, items, tmp_path):
    means.save(tmp_path / "m.safetensors")
    loaded = Means.load(tmp_path / "m.safetensors")
    assert loaded.meta["data_hash"] == means.meta["data_hash"] and loaded.record["num_items"] == 5
    culnig.score(lm, items, policy=MCF, method="culnig,mean_contrast").save(tmp_path / "s.safetensors")
    for path in ("m.safetensors", "s.safetensors"):
        for module, values in Means.load(tmp_path / path).values.items():
            np.testing.assert_allclose(values, means.values[module], rtol=1e-6, atol=1e-9)
    other = LanguageModel(tiny_models.build("qwen3"), lm.tokenizer, name="other")
    with pytest.raises(UsageError, match=r"m.safetensors: measured on another model"):
        culnig.replace(other, SET, loaded)
    culnig.score(lm, items, policy=MCF).save(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="holds no mean values"):
        Means.load(tmp_path / "none.safetensors")
    culnig.score(lm, items, policy=MCF, method="mean_contrast", shard=(1, 2)).save(tmp_path / "part.safetensors")
    with pytest.raises(UsageError, match="is a shard"):
        Means.load(tmp_path / "part.safetensors")


def test_wrong_values(lm, items):
    for values in ({}, dict.fromkeys(SET, float("inf"))):
        with pytest.raises(UsageError, match="has no finite value"), culnig.replace(lm, SET, values):
            pass
    few = culnig.mean_values(lm, items, policy=MCF, modules=["self_attn.q_proj"])
    with pytest.raises(UsageError, match=r"nothing on mlp.gate_proj"), culnig.replace(lm, SET, few):
        pass
    with pytest.raises(UsageError, match="needs the mean values"):
        Operation.parse("mean").on(lm, SET)


def test_words():
    assert Operation.parse("mean").doing("9 neurons") == "Replacing 9 neurons by the mean over the cultural items"
    assert Operation.parse("control").noun == "replacement by the mean over the control items"
    assert Operation.parse("scale=0.5").doing("9 neurons") == "Scaling 9 neurons by 0.5"
    assert Operation.parse("mean").factor is None and Operation.parse("suppress").noun == "suppression"


def test_half_precision(items):
    """The numbers are rounded alike by weights and hooks."""
    model = tiny_models.build("llama").to(torch.bfloat16)
    lm = LanguageModel(model, tiny_models.tokenizer(), name="llama")
    neurons, state = (
        NeuronSet([Neuron(m, 1, i) for m, (_, w) in lm.shapes.items() for i in range(0, w, 9)]),
        snapshot(lm),
    )
    means = culnig.mean_values(lm, items, policy=MCF)
    with culnig.replace(lm, neurons, means, how="weights"):
        edited = logits(lm)
    with culnig.replace(lm, neurons, means, how="hooks"):
        torch.testing.assert_close(logits(lm), edited, rtol=0, atol=2**-7 * float(edited.abs().max()))
    assert same(lm, state)
