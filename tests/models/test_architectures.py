"""The architectures of docs/models.md: all are accounted for, and tiny random models of them go the whole way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bench import models as command
from bench import tiny
from bench.journey import Wrong, travel

import culnig
from culnig.attribution import Scores
from culnig.errors import ModelError, UsageError
from culnig.models import FAMILIES, LanguageModel
from culnig.models.families import TABLE
from culnig.models.unmapped import REASONS
from culnig.neurons import MLP_POOL, Neuron, NeuronSet, Shape, Site, number_of_neurons
from culnig.passes.trees import collate_trees, trees_of
from culnig.prompts import PromptPolicy
from tests.helpers.slow_reference import slow_scores

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SAMPLE = ("gpt_oss", "llama4_text", "deepseek_v3", "qwen3_5_text", "bloom", "olmo")
"""One of each: biased and transposed experts, experts on every token, latent attention with a dense layer, layers without
attention, alibi, and a model that changes outputs in place."""
MCF = PromptPolicy(formulation="mcf")


@pytest.mark.parametrize("family", SAMPLE)
def test_the_whole_way(family):
    assert f"| `{family}` | {travel(family).architecture} |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in tiny.CONFIGS if family not in SAMPLE])
def test_the_whole_way_of_the_others(family):
    travel(family)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options", "cf"),
    [
        ("falcon", {"new_decoder_architecture": False, "multi_query": True}, True),
        ("falcon", {"new_decoder_architecture": False, "multi_query": False, "num_kv_heads": 4}, True),
        ("falcon", {"new_decoder_architecture": False, "multi_query": False, "num_kv_heads": 4, "alibi": True}, False),
        ("gpt_bigcode", {"multi_query": False}, True),
        ("deepseek_v3", {"q_lora_rank": None}, True),
        ("granitemoehybrid", {"num_local_experts": 0}, False),
        ("gemma4_text", {"attention_k_eq_v": True}, True),
        ("gemma4_text", {"num_kv_shared_layers": 1}, True),
    ],
)
def test_further_layouts_of_a_family(family, options, cf):
    assert (travel(family, **options).no_cf == "") == cf


def test_a_wrong_map_is_seen(monkeypatch):
    """The journey's checks see queries taken for keys, and an up projection taken for the gate."""
    for one, other in (("self_attn.q_proj", "self_attn.v_proj"), ("mlp.gate_proj", "mlp.up_proj")):
        llama = TABLE["llama"]
        swapped = dict(llama.sites) | {one: llama.sites[other], other: llama.sites[one]}
        wrong = type(llama)(llama.layers, swapped)
        monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES.items()) | {"llama": wrong})
        with pytest.raises(Wrong, match=r"acts where|are taken for each other"):
            travel("llama")


def test_every_architecture_of_transformers_is_accounted_for():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    refused = [name for names in REASONS.values() for name in names]
    assert not set(refused) & set(TABLE) and len(refused) == len(set(refused))
    assert not set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(TABLE) - set(refused)
    assert set(TABLE) == {*tiny.CONFIGS, *tiny.SAME, *tiny.NOT_RUN}


def test_the_page_is_of_these_families():
    """`python -m bench.models --write` makes it; it names the same families in the same order, and the same reasons."""
    text = PAGE.read_text(encoding="utf-8")
    first, second = text.split("## Other names of these")
    rows = re.findall(r"^\| `([\w-]+)` \|", first, flags=re.MULTILINE)
    assert rows[1:] == list(tiny.CONFIGS)  # the first is the table's head
    assert second == command.page([]).split("## Other names of these")[1]
    assert len(tiny.CONFIGS) >= 35 and first.count(command.TINY) >= len(tiny.CONFIGS) - len(command.REAL)


def test_sites_of_the_same_name_share_a_projection_without_overlap():
    """Sites that are parts of one projection are disjoint; and all of it, unless the rest is a gate of the attention."""
    for family in ("falcon", "codegen", "gpt_bigcode", "gpt_neox", "minicpm3", "gpt_oss", "phi3", "mpt", "qwen3_next"):
        lm = LanguageModel(tiny.build(family), tiny.tokenizer(), name=family)
        parts = {}
        for site, found in lm.sites.items():
            if not found.stacked:
                parts.setdefault((found.module, site.layer), []).append(found.outputs(range(found.width)))
        for (module, _), rows in parts.items():
            together = torch.cat(rows)
            assert len(together.unique()) == len(together)
            assert len(together) == module.weight.numel() // lm.text_config.hidden_size or family in (
                "minicpm3",  # from latents
                "qwen3_next",  # half of the query's projection is a gate
            ), family


@pytest.fixture(scope="module")
def mixed():
    """A first layer with a plain MLP, then experts."""
    return LanguageModel(tiny.build("deepseek_v3"), tiny.tokenizer(), name="mixed")


@pytest.fixture(scope="module")
def hybrid():
    """Attention in the second layer alone."""
    return LanguageModel(tiny.build("qwen3_5_text"), tiny.tokenizer(), name="hybrid")


def test_shapes_say_what_each_layer_has(mixed, hybrid):
    assert mixed.shapes["mlp.gate_proj"] == Shape((48, 96, 96)) != (3, 96)
    assert hybrid.shapes["self_attn.q_proj"] == Shape((0, 32, 0)) and hybrid.shapes["mlp.gate_proj"] == (3, 48)
    assert Site("self_attn.q_proj", 0) not in hybrid.sites
    assert hybrid.num_neurons == 2 * 3 * 48 + 32 + 16 + 16 == number_of_neurons(hybrid.shapes)
    assert mixed.expert_widths["mlp.gate_proj"] == 24 and mixed.expert_widths["mlp.gate_proj.0"] == 0


@pytest.mark.parametrize("formulation", ["mcf", "cf"])
def test_scores_of_layers_that_differ_equal_the_definition(hybrid, formulation):
    policy = PromptPolicy(formulation=formulation)
    if formulation == "cf":
        lm = LanguageModel(tiny.build("gemma3n_text"), tiny.tokenizer(), name="shared keys")
    else:
        lm = hybrid
    scores = culnig.score(lm, tiny.items(), policy=policy)
    for site, sums in slow_scores(lm, tiny.items(), policy).items():
        got = scores.sums["culnig", site.module][:, site.layer]
        np.testing.assert_allclose(got[:, : sums.shape[1]], sums, atol=1e-4 * np.abs(sums).max(), rtol=0)
        assert not got[:, sums.shape[1] :].any()


def test_selection_takes_and_counts_neurons_that_there_are(mixed, hybrid, tmp_path):
    for lm in (mixed, hybrid):
        scores = culnig.score(lm, tiny.items(), policy=MCF)
        scores.save(tmp_path / "s.safetensors")
        loaded = Scores.load(tmp_path / "s.safetensors")
        assert loaded.shapes() == lm.shapes
        chosen = culnig.select_general(loaded, None, None, t_mlp=1.0, t_attn=1.0, r=0.0)
        selectable = [m for m in lm.shapes if not m.endswith("up_proj")]
        assert len(chosen) == number_of_neurons({m: lm.shapes[m] for m in selectable})
        assert {neuron.site for neuron in chosen} <= set(lm.sites)
        drawn = culnig.select_random(chosen.top(20), lm.shapes, how="uniform", seed=1)
        assert all(neuron.index < lm.sites[neuron.site].width for neuron in drawn)
        tenth = culnig.select_general(loaded, None, None, t_mlp=0.1, t_attn=0.0, r=0.0)
        gates = {m: shape for m, shape in lm.shapes.items() if m in MLP_POOL}
        assert len(tenth) == number_of_neurons(gates) // 10


def test_a_neuron_of_a_plain_layer_has_no_expert(mixed):
    made = NeuronSet(
        [Neuron("mlp.gate_proj", 0, 40), Neuron("mlp.gate_proj", 1, 40)], expert_widths=mixed.expert_widths
    )
    assert [row.get("expert_idx") for row in made.to_json()["top_neurons"]] == [None, 1]


def test_a_neuron_that_a_layer_lacks_is_refused(mixed, hybrid):
    for lm, neuron, told in (
        (mixed, Neuron("mlp.gate_proj", 0, 60), r"3 layers x 96 neurons \(48 in layer 0\)"),
        (hybrid, Neuron("self_attn.q_proj", 0, 1), r"3 layers x 32 neurons \(0 in layer 0\)"),
    ):
        with pytest.raises(UsageError, match=told), culnig.suppress(lm, NeuronSet([neuron])):
            pass


@pytest.mark.parametrize(
    "method",
    ["culnig:sum:product", "mean_contrast", "wanda_neuron", "lape", "relp", "ig:sum:gate:steps=2", "oracle:sample=2"],
)
def test_other_methods_on_layers_that_differ(hybrid, mixed, method):
    for lm in (hybrid, mixed):
        scores = culnig.score(lm, tiny.items(2), policy=MCF, method=method)
        for module in scores.modules:
            shape = lm.shapes[module]
            assert scores.sums[scores.method, module].shape[1:] == tuple(shape)


def test_means_replace_values_in_layers_that_differ(hybrid):
    means = culnig.mean_values(hybrid, tiny.items(), policy=MCF)
    chosen = NeuronSet([Neuron("self_attn.v_proj", 1, 3), Neuron("mlp.gate_proj", 0, 5)])
    with culnig.replace(hybrid, chosen, means, how="hooks"):
        hooked = culnig.evaluate(hybrid, tiny.items(), policy=MCF).rows["p_gold"].to_numpy()
    with culnig.replace(hybrid, chosen, means, how="weights"):
        edited = culnig.evaluate(hybrid, tiny.items(), policy=MCF).rows["p_gold"].to_numpy()
    np.testing.assert_allclose(hooked, edited, rtol=1e-4)


def test_a_replaced_expert_neuron_of_llama_4_acts_where_it_is_routed_to():
    """Experts that run on every token get zeros from tokens that did not choose them; a number there would leak into them."""
    lm = LanguageModel(tiny.build("llama4_text"), tiny.tokenizer(), name="llama4")
    ids = torch.arange(7, 26)[None]
    router = lm.layers[1].feed_forward.router
    seen = []
    handle = router.register_forward_hook(lambda module, args, output: seen.append(output[0]))
    width = lm.expert_widths["mlp.gate_proj"]
    experts_output = []
    watched = lm.layers[1].feed_forward.experts.register_forward_hook(
        lambda m, a, output: experts_output.append(output)
    )
    neurons = {Neuron("mlp.gate_proj", 1, 2 * width + i): 3.0 for i in range(width)}
    with torch.no_grad(), culnig.replace(lm, NeuronSet(neurons), neurons):
        lm.model(ids)
    handle.remove(), watched.remove()
    routed, of_expert = seen[0][:, 2] > 0, experts_output[0].view(4, 19, -1)[2]
    assert 0 < routed.sum() < 19
    assert of_expert[routed].any(dim=-1).all() and not of_expert[~routed].any()


def test_a_convolution_in_an_unknown_family_is_no_branch(monkeypatch):
    """A family of a plugin says nothing of its convolution; answers beside each other would run into it."""
    from culnig.passes.forward import Row, answer_logprobs

    lm = LanguageModel(tiny.build("llama"), tiny.tokenizer(), name="convolved")
    lm.layers[0].conv = torch.nn.Conv1d(32, 32, 3)
    rows = [Row(0, (7, 8, 9), ((10, 11), (12, 13, 14)))]
    with pytest.raises(ModelError, match=r"a convolution runs over its tokens.*score with mcf"):
        answer_logprobs(lm, collate_trees(trees_of(rows), lm.device))
