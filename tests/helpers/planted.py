"""A model whose weights are set by hand, so that the answers of one group depend on four neurons."""

from __future__ import annotations

import random

import torch

from culnig import Item, Neuron, NeuronSet
from culnig.models import LanguageModel
from culnig.neurons import GATE
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models

MCF = PromptPolicy(formulation="mcf")
LAYER, INDICES = 1, (3, 17, 29, 41)
PLANTED = NeuronSet([Neuron(GATE, LAYER, i) for i in INDICES])
CUE, ANSWER = "w300", "w310"
"""Iran's prompts end with the cue, and only the planted neurons lead from there to the answer."""
PLAIN_CUE, PLAIN_ANSWER = "w301", "w311"
"""Spain's; the answer follows from the embedding, past every neuron."""


def planted_model():
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


def items(control=False, number=24):
    rng = random.Random(0)
    made = []
    for i in range(number):
        country, cue, answer = (("Iran", CUE, ANSWER), ("Spain", PLAIN_CUE, PLAIN_ANSWER))[i % 2]
        words = " ".join(f"w{rng.randrange(250)}" for _ in range(rng.randrange(2, 7)))
        prompt = words if control else f"{words} {cue}"
        made.append(Item(f"{i}", "planted", country, prompt=prompt, target=answer, control=control))
    return made
