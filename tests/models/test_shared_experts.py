"""Shared experts: every one that a family has is mapped, and suppressing it is zeroing its weights."""

from __future__ import annotations

import pytest
import torch
from bench import tiny
from transformers import AutoModelForCausalLM

import culnig
from culnig.models import LanguageModel
from culnig.models.downstream import output_projection
from culnig.models.quiet import quiet
from culnig.neurons import GATE, SHARED_GATE, SHARED_UP, Neuron, NeuronSet, Site, widths_of
from culnig.prompts import PromptPolicy

IDS = torch.arange(7, 45).reshape(2, 19)
GATES = {  # family -> shared expert's projection before the activation, and its rows there (None is all)
    "qwen2_moe": ("mlp.shared_expert.gate_proj", None),
    "deepseek_v3": ("mlp.shared_experts.gate_proj", None),
    "llama4_text": ("feed_forward.shared_expert.gate_proj", None),
    "granitemoeshared": ("shared_mlp.input_linear", slice(0, 40)),
    "minimax_m3_vl_text": ("mlp.shared_experts.gate_up_proj", slice(0, 24)),
    "nemotron_h": ("mixer.shared_experts.up_proj", None),
    "hunyuan_v1_moe": ("mlp.shared_mlp.gate_proj", None),
    "qwen3_next": ("mlp.shared_expert.gate_proj", None),
}
"""Written by hand, without the table of families."""


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("family", GATES)
def test_suppressing_is_zeroing_the_weights(family):
    with quiet():
        lm = LanguageModel(tiny.build(family), tiny.tokenizer(), name=family)
    path, rows = GATES[family]
    widths = widths_of(lm.shapes[SHARED_GATE])
    chosen = [Neuron(SHARED_GATE, layer, i) for layer, width in enumerate(widths) for i in range(0, width, 2)]
    assert chosen
    untouched = logits(lm.model)
    found = []
    for how in ("weights", "hooks"):
        with culnig.suppress(lm, NeuronSet(chosen), how=how):
            found.append(logits(lm.model))
    other = tiny.build(family)
    zeroed = 0
    for name, module in other.named_modules():
        if name.endswith(f".{path}"):
            own = (rows or slice(0, module.out_features)).indices(module.out_features)
            for row in range(own[0], own[1], 2):
                module.weight.data[row] = 0.0
                zeroed += 1
                if module.bias is not None:
                    module.bias.data[row] = 0.0
    assert zeroed == len(chosen)
    expected = logits(other)
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, untouched, rtol=1e-3) and torch.equal(logits(lm.model), untouched)


def test_no_shared_expert_is_left_out():
    """Every projection whose path says that it is shared is mapped, or reads neurons, or weighs the expert."""
    left = {}
    for family in tiny.CONFIGS:
        with quiet(), torch.device("meta"):
            lm = LanguageModel(AutoModelForCausalLM.from_config(tiny.config(family)), None, name=family)
        own = {id(found.module) for found in lm.sites.values()}
        for layer in lm.layers:
            for name, module in layer.named_modules():
                outputs = getattr(module, "out_features", None)
                reads = name.endswith(("down_proj", "output_linear"))
                if "shared" in name and outputs and id(module) not in own and not reads and outputs > 1:
                    left.setdefault(family, set()).add(name)
    assert not left


def test_a_model_of_the_family_may_have_none():
    with quiet():
        plain = LanguageModel(tiny.build("qwen3_moe"), tiny.tokenizer(), name="plain")
        alone = LanguageModel(tiny.build("granitemoehybrid", num_local_experts=0), tiny.tokenizer(), name="alone")
    for lm in (plain, alone):
        assert SHARED_GATE not in lm.shapes and SHARED_UP not in lm.shapes and GATE in lm.shapes
    assert Site(GATE, 0) in alone.sites  # there the "shared" MLP is the layer's own


def test_they_are_scored_and_selected_with_the_routed_ones(tmp_path):
    from culnig.selection.general import select_general

    with quiet():
        lm = LanguageModel(tiny.build("qwen2_moe"), tiny.tokenizer(), name="qwen2_moe")
    items, policy = tiny.items(), PromptPolicy(formulation="mcf")
    scores = culnig.score(lm, items, policy=policy)
    assert scores.shapes()[SHARED_GATE] == (3, 40) and scores.sums["culnig", SHARED_GATE].any()
    chosen = select_general(scores, None, None, t_mlp=0.5)
    pool = sum(sum(widths_of(lm.shapes[module])) for module in (GATE, SHARED_GATE))
    assert {GATE, SHARED_GATE} <= {n.module for n in chosen}
    assert sum(n.module in (GATE, SHARED_GATE) for n in chosen) == pool // 2
    chosen.save(tmp_path / "set.json")
    assert set(NeuronSet.load(tmp_path / "set.json")) == set(chosen)


@pytest.mark.parametrize("family", ["qwen2_moe", "deepseek_v3", "granitemoeshared"])
def test_products_are_those_behind_the_shared_gate(family):
    """h * dP/dh of the shared expert, for the gate and the up neuron alike, is P's derivative by what the down projection reads."""
    with quiet():
        lm = LanguageModel(tiny.build(family), tiny.tokenizer(), name=family)
    item, policy = tiny.items()[:1], PromptPolicy(formulation="mcf")
    scores = culnig.score(lm, item, policy=policy, method="culnig:sum:product")
    gates, ups = (scores.sums["culnig:sum:product", module][0] for module in (SHARED_GATE, SHARED_UP))
    assert gates.any() and (gates == ups).all()
    layer = len(gates) - 1
    reader = output_projection(lm, Site(SHARED_GATE, layer))
    index = int(abs(gates[layer]).argmax())
    found = []
    for factor in (1.01, 0.99):
        kept = reader.weight.detach().clone()
        with torch.no_grad():
            reader.weight[:, index] *= factor
            found.append(culnig.evaluate(lm, item, policy=policy).rows["p_gold"].item())
            reader.weight.copy_(kept)
    p = culnig.evaluate(lm, item, policy=policy).rows["p_gold"].item()
    assert gates[layer, index] == pytest.approx(p * (found[0] - found[1]) / 0.02, rel=0.03)


@pytest.mark.parametrize("method", ["relp", "relp:product", "wanda_neuron", "ig:sum:gate:steps=2"])
def test_other_methods_score_them_too(method):
    with quiet():
        lm = LanguageModel(tiny.build("qwen2_moe"), tiny.tokenizer(), name="qwen2_moe")
    scores = culnig.score(lm, tiny.items(2), policy=PromptPolicy(formulation="mcf"), method=method)
    assert scores.sums[scores.method, SHARED_GATE].any()
