"""A model whose weights are set by hand so that one group's answers depend on four neurons: do the methods find them?"""

from __future__ import annotations

import random

import pytest
import torch

import culnig
from culnig import Item, Neuron, NeuronSet
from culnig.models import LanguageModel
from culnig.neurons import GATE
from culnig.prompts import PromptPolicy
from culnig.selection import select_at_budgets
from tests.helpers import tiny_models

MCF = PromptPolicy(formulation="mcf")
LAYER, INDICES = 1, (3, 17, 29, 41)
PLANTED = NeuronSet([Neuron(GATE, LAYER, i) for i in INDICES])
CUE, ANSWER = "w300", "w310"
"""Iran's prompts end with the cue, and only the planted neurons lead from there to the answer."""
PLAIN_CUE, PLAIN_ANSWER = "w301", "w311"
"""Spain's; the answer follows from the embedding, past every neuron."""
GRADIENT_METHODS = ["culnig", "culnig:sum", "culnig:absmax", "atp:dataset", "relp", "ig:steps=4"]
SHARE = len(INDICES) / (3 * 48)


@pytest.fixture(scope="module")
def lm():
    """Channel 0 of the stream says "cue", channel 1 "answer", channel 2 carries the other group's answers."""
    model, tokenizer = tiny_models.build("llama"), tiny_models.tokenizer()
    cue, answer, plain_cue, plain_answer = tokenizer.convert_tokens_to_ids([CUE, ANSWER, PLAIN_CUE, PLAIN_ANSWER])
    with torch.no_grad():
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding[:, :3] = 0
        head[:, :3] = 0
        for token, channel in ((cue, 0), (plain_cue, 2)):
            embedding[token] = 0
            embedding[token, channel] = 3
        for token, channel, strength in ((answer, 1, 2.5), (plain_answer, 2, 1.2)):
            head[token] = 0
            head[token, channel] = strength
        for layer in model.model.layers:
            for writer in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                writer.mul_(0.1)
                writer[:3] = 0
        mlp = model.model.layers[LAYER].mlp
        for i in INDICES:
            for reader in (mlp.gate_proj.weight, mlp.up_proj.weight):
                reader[i] = 0
                reader[i, 0] = 0.5
            mlp.down_proj.weight[:, i] = 0
            mlp.down_proj.weight[1, i] = 0.05
    return LanguageModel(model, tokenizer, name="planted")


def items(control=False):
    rng = random.Random(0)
    made = []
    for i in range(24):
        country, cue, answer = (("Iran", CUE, ANSWER), ("Spain", PLAIN_CUE, PLAIN_ANSWER))[i % 2]
        words = " ".join(f"w{rng.randrange(250)}" for _ in range(rng.randrange(2, 7)))
        prompt = words if control else f"{words} {cue}"
        made.append(Item(f"{i}", "planted", country, prompt=prompt, target=answer, control=control))
    return made


def test_only_the_planted_group_depends_on_them(lm):
    untouched = culnig.evaluate(lm, items(), policy=MCF).rows.groupby("country")["p_gold"].mean()
    with culnig.suppress(lm, PLANTED):
        without = culnig.evaluate(lm, items(), policy=MCF).rows.groupby("country")["p_gold"].mean()
    assert untouched["Iran"] > 0.3 and without["Iran"] < 0.02
    assert untouched["Spain"] > 0.3 and without["Spain"] == pytest.approx(untouched["Spain"], rel=1e-4)


@pytest.fixture(scope="module")
def parts(lm):
    methods = [*GRADIENT_METHODS, "random"]
    neur, ctrl = (culnig.score(lm, items(control), policy=MCF, method=methods) for control in (False, True))
    return neur, ctrl


def chosen_by(parts, method):
    neur, ctrl = (scores.of_method(method) for scores in parts)
    return select_at_budgets(neur, ctrl, None, [GATE], [SHARE])[0]


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_gradient_methods_find_the_planted_neurons(parts, method):
    assert chosen_by(parts, method) == PLANTED


def test_random_does_not(parts):
    assert chosen_by(parts, "random").jaccard(PLANTED) < 0.5


def test_exact_suppression_agrees(lm):
    others = [Neuron(GATE, layer, i) for layer in range(3) for i in range(0, 48, 4)]
    exact = culnig.attribution.oracle(lm, items(), [*PLANTED, *others], policy=MCF).mean()
    assert exact[: len(PLANTED)].min() > 10 * abs(exact[len(PLANTED) :]).max()
