"""Everything that runs a model keeps to the model's device, checked on a device that is not there.

Its tensors hold real numbers, and operations that mix devices raise: a tensor left on the CPU is found, as on a GPU.
`test_devices.py` runs these cases in a process of their own, because PyTorch cannot take such a device back.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.attribution.exact import oracle
from culnig.evaluation import perplexity
from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models
from tests.helpers.second_device import move, second_device
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF = PromptPolicy(formulation="cf")
NEURONS = NeuronSet([Neuron("mlp.gate_proj", 1, 5), Neuron("self_attn.q_proj", 0, 3)])
METHODS = ["culnig", "culnig:last", "relp", "atp:control", "atp:dataset", "ig:gate:steps=2", "mean_contrast", "lape"]
METHODS += ["wanda_neuron", "oracle:sample=1", "oracle:control:sample=1"]
BUDGET = 100
"""Padded tokens: several batches, some of them padded."""


@pytest.fixture(autouse=True)
def _plain_kernels(monkeypatch):
    """The CPU's own model computes with the kernels that the second device borrows."""
    monkeypatch.setenv("CULNIG_ONEDNN", "0")


@pytest.fixture(scope="module")
def pair(request):
    """A tiny model on the CPU, and the same on the second device, in its block."""
    with second_device() as device:
        there = LanguageModel(move(tiny_models.build("llama"), device), tiny_models.tokenizer(), name="llama")
        assert there.device == device
        yield LanguageModel(tiny_models.build("llama"), tiny_models.tokenizer(), name="llama"), there


def test_devices_that_meet_are_found(pair):
    _, there = pair
    weight = there.layers[0].mlp.gate_proj.weight
    with pytest.raises(RuntimeError, match="on the CPU"):
        weight + torch.ones(weight.shape[1])


@pytest.mark.parametrize("method", METHODS)
def test_scores(pair, word_items, method):
    here, there = (
        culnig.score(lm, word_items[:8], policy=CF, method=method, blocks=2, token_budget=BUDGET) for lm in pair
    )
    rows = culnig.evaluate(pair[0], word_items[:8], policy=CF, token_budget=BUDGET).rows
    logprobs = np.concatenate(rows["option_logprobs"])
    for found, expected in ((there.sums, here.sums), (there.blocks or {}, here.blocks or {})):
        assert found.keys() == expected.keys()
        for key, sums in expected.items():
            # A difference of two P is as exact as log P itself, once for each item.
            noise = 8 * output_tolerance(pair[0], logprobs) if method.startswith("oracle") else 0
            slack = score_tolerance(pair[0], sums) + noise
            np.testing.assert_allclose(found[key], sums, rtol=0, atol=slack)


def test_evaluation_with_and_without_suppression(pair, word_items):
    whole, less = [], []
    for lm in pair:
        rows = culnig.evaluate(lm, word_items[:8], policy=CF, token_budget=BUDGET).rows
        whole.append(rows["p_gold"])
        with culnig.suppress(lm, NEURONS):
            less.append(culnig.evaluate(lm, word_items[:8], policy=CF, token_budget=BUDGET).rows["p_gold"])
    # A probability's relative error is its log-probability's error.
    close = output_tolerance(pair[0], np.concatenate(rows["option_logprobs"]))
    for here, there in (whole, less):
        np.testing.assert_allclose(there, here, rtol=close)
    assert not np.allclose(whole[0], less[0])


def test_exact_suppression_and_perplexity(pair, word_items):
    here, there = (oracle(lm, word_items[:4], NEURONS, policy=CF, token_budget=BUDGET).change for lm in pair)
    rows = culnig.evaluate(pair[0], word_items[:4], policy=CF, token_budget=BUDGET).rows
    # A difference of two P, each as exact as its log P.
    slack = 2 * output_tolerance(pair[0], np.concatenate(rows["option_logprobs"]))
    np.testing.assert_allclose(there, here, rtol=0, atol=slack)
    here, there = (perplexity(lm, ["w1 w2 w3 w4", "w5 w6"]).rows["logprob"] for lm in pair)
    np.testing.assert_allclose(there, here, rtol=0, atol=output_tolerance(pair[0], here))


@pytest.mark.parametrize("how", ["auto", "hooks"])
def test_replacement(pair, word_items, how):
    found, exact = [], []
    for lm in pair:
        means = culnig.mean_values(lm, word_items[:6], policy=CF, token_budget=BUDGET)
        with culnig.replace(lm, NEURONS, means, how=how):
            rows = culnig.evaluate(lm, word_items[:4], policy=CF, token_budget=BUDGET).rows
        found.append(rows["p_gold"])
        exact.append(oracle(lm, word_items[:4], NEURONS, policy=CF, token_budget=BUDGET, replacement=means).change)
    close = output_tolerance(pair[0], np.concatenate(rows["option_logprobs"]))
    np.testing.assert_allclose(found[1], found[0], rtol=2 * close)
    np.testing.assert_allclose(exact[1], exact[0], rtol=0, atol=4 * close)
