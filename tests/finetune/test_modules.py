"""Module ranking: budgets that are kept, and expressions that PEFT reads as they are meant."""

from __future__ import annotations

import json
import random
from itertools import combinations

import pytest
import torch
import yaml
from bench import tiny

from culnig.errors import UsageError
from culnig.finetune import (
    choose,
    decoder_parameters,
    find_projections,
    parse_share,
    peft_expression,
    peft_list,
    rank,
    within,
)
from culnig.finetune.ranking import fill
from culnig.finetune.targets import peft_parameters
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet
from culnig.studies.published import read_published
from tests.helpers import tiny_models
from tests.helpers.cli import invoke

LAYERS = 14
SIZES = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": LAYERS, "layer_types": None}
LAYOUTS = ("llama", "gemma3", "phi3")


def layout(family):
    """A model in the family's layout with 14 layers, so that layers 1 and 11 can be mixed up, without its weights."""
    import transformers

    text = tiny.CONFIGS[family].get("text_config")
    config = tiny.config(family, **({"text_config": text | SIZES} if text else SIZES))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    return LanguageModel(model, tiny_models.tokenizer(), name=family)


def spread(lm, seed=0):
    """A set of neurons, more in some modules and layers than in others, none in most."""
    rng = random.Random(seed)
    return NeuronSet(
        {
            Neuron(module, layer, index): 1.0
            for module in ("mlp.gate_proj", "self_attn.q_proj", "self_attn.v_proj")
            for layer in rng.sample(range(LAYERS), 6)
            for index in rng.sample(range(16), rng.randrange(1, 12))
        }
    )


@pytest.mark.parametrize("family", LAYOUTS)
@pytest.mark.parametrize(("share", "pick"), [(0.1, "top"), (0.1, "bottom"), (0.25, "random"), (0.05, "top")])
def test_budgets_are_kept_and_peft_selects_exactly_the_chosen(family, share, pick):
    peft = pytest.importorskip("peft")
    lm = layout(family)
    neurons = spread(lm)
    everything, total = find_projections(lm, neurons), decoder_parameters(lm)
    assert sum(p.neurons for p in everything) == len(neurons)
    assert 0.97 < sum(p.parameters for p in everything) / total <= 1
    choice = choose(everything, total, share, pick)
    assert abs(choice.share / share - 1) <= 0.01
    sizes = {path: sum(t.numel() for t in lm.model.get_submodule(path).parameters()) for path in peft_list(everything)}
    assert all(p.parameters == sizes[p.path] for p in everything)
    for targets in (peft_expression(choice.projections), peft_list(choice.projections)):
        fresh = layout(family).model
        config = peft.LoraConfig(r=2, target_modules=targets)
        with torch.device("meta"):
            wrapped = peft.get_peft_model(fresh, config, low_cpu_mem_usage=True).get_base_model()
        hit = {n for n, m in wrapped.named_modules() if isinstance(m, peft.tuners.tuners_utils.BaseTunerLayer)}
        assert hit == {p.path for p in choice.projections}


def test_ranking():
    lm = layout("phi3")
    neurons = NeuronSet([Neuron("mlp.gate_proj", 3, i) for i in range(5)] + [Neuron("self_attn.k_proj", 3, 0)])
    ranked = rank(find_projections(lm, neurons))
    assert [(p.path, p.neurons) for p in ranked[:2]] == [
        ("model.layers.3.mlp.gate_up_proj", 5),
        ("model.layers.3.self_attn.qkv_proj", 1),
    ]
    assert ranked[0].density == 5 / 512 and {p.module for p in ranked[2:]} >= {"self_attn.o_proj", "mlp.down_proj"}
    assert [p.path for p in rank(ranked, 1)] != [p.path for p in ranked] and rank(ranked)[:2] == ranked[:2]
    lm = layout("mixtral")
    stacked = rank(find_projections(lm, NeuronSet([Neuron("mlp.gate_proj", 2, 700)])))[0]
    assert stacked.path == "model.layers.2.mlp.experts.gate_up_proj" and stacked.stacked
    assert peft_parameters([stacked]) == [stacked.path] and peft_list([stacked]) == []


PUBLISHED = read_published()["models"]["gemma-3-12b-it"]["gates"]
"""Layer of gemma-3-12b-it -> its gate neurons, as the published fine-tuning config lists them; the rest have fewer."""
BLOCK = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def gemma_3_12b():
    """The decoder of gemma-3-12b with its real sizes, without weights."""
    import transformers

    sizes = {"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48, "head_dim": 256}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 512}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.Gemma3TextConfig(**sizes, **heads))
    return LanguageModel(model, tiny_models.tokenizer(), name="gemma-3-12b-it")


def test_the_published_order_by_block():
    lm = gemma_3_12b()
    neurons = [Neuron("mlp.gate_proj", layer, i) for layer, count in PUBLISHED.items() for i in range(count)]
    # Queries, keys and values of a layer together: more than layer 9's gates, though none of them alone.
    attention = [("q_proj", 200), ("k_proj", 150), ("v_proj", 70)]
    neurons += [Neuron(f"self_attn.{name}", 20, i) for name, count in attention for i in range(count)]
    found = find_projections(lm, NeuronSet(neurons))
    assert list(PUBLISHED) == [13, 12, 14, 10, 11, 7, 9] and [PUBLISHED[n] for n in (13, 12, 14)] == [785, 685, 612]
    ranked = rank(found, by="block")
    mlp = [p for p in ranked if p.block == "mlp"]
    assert [(p.layer, p.module, p.block_neurons) for p in mlp[:21]] == [
        (layer, module, count) for layer, count in PUBLISHED.items() for module in BLOCK
    ]
    of_twenty = [p for p in ranked if p.layer == 20 and p.block == "self_attn"]
    assert {p.block_neurons for p in of_twenty} == {420} and len(of_twenty) == 4
    assert ranked[18:22] == of_twenty and ranked[22].layer == 9
    choice = choose(found, decoder_parameters(lm), 0.1, by="block")
    assert [(p.layer, p.module) for p in choice.projections[:15]] == [
        (layer, module) for layer in (13, 12, 14, 10, 11) for module in BLOCK
    ]
    own = rank(found)  # the other ranking: gates first, whatever their block
    assert [p.layer for p in own[:7]] == list(PUBLISHED) and {p.module for p in own[:7]} == {"mlp.gate_proj"}
    with pytest.raises(UsageError, match="unknown ranking 'layer'; there are module, block"):
        rank(found, by="layer")


@pytest.mark.parametrize("family", ["llama", "phi3", "mixtral", "gpt2"])
def test_choices_within_one_kind_differ_in_density_alone(family):
    lm = layout(family)
    found, total = find_projections(lm, spread(lm)), decoder_parameters(lm)
    gates, blocks = within(found, "gates"), within(found, "mlp")
    assert len(gates) == LAYERS == len({(p.layer, p.block) for p in blocks}) and set(gates) < set(blocks)
    assert all("mlp.gate_proj" in p.holds for p in gates)
    share = 4 * gates[0].parameters / total
    dense, sparse = (choose(found, total, share, pick, among="gates") for pick in ("top", "bottom"))
    assert dense.parameters == sparse.parameters and set(dense.projections) <= set(gates)
    assert dense.neurons > sparse.neurons == 0 and not {*dense.projections} & {*sparse.projections}
    with pytest.raises(UsageError, match="unknown kind of modules 'attention'"):
        within(found, "attention")


def test_fill_is_the_first_subset_in_order():
    """Against all subsets, on sizes with and without a common divisor."""
    rng = random.Random(0)
    for _ in range(60):
        scale = rng.choice([1, 64])
        sizes = [scale * rng.randrange(1, 60) for _ in range(9)]
        budget, tolerance = rng.uniform(0.1, 0.9) * sum(sizes), rng.choice([0.01, 0.05])
        fitting = [
            c
            for k in range(1, 10)
            for c in combinations(range(9), k)
            if abs(sum(sizes[i] for i in c) - budget) <= tolerance * budget
        ]
        got = fill(sizes, budget, tolerance)
        if got is None:
            assert not fitting
        else:
            # First in order: a set is better when it has the earlier element at the first place where they differ,
            # and nothing is taken once the budget is kept.
            assert tuple(got) == min(fitting)


def test_fill_with_rounding_keeps_the_budget():
    rng = random.Random(1)
    sizes = [rng.randrange(10**6, 10**7) for _ in range(200)]
    budget = 0.1 * sum(sizes)
    assert abs(sum(sizes[i] for i in fill(sizes, budget)) / budget - 1) <= 0.01


def test_shares():
    assert parse_share("10%") == pytest.approx(0.1) and parse_share("0.1") == 0.1
    for text in ("10", "0", "-5%", "much", "101%"):
        with pytest.raises(UsageError, match=r"is not a share of the parameters; say 10% or 0\.1"):
            parse_share(text)


def test_command(tmp_path, reference_dir):
    path = tmp_path / "n.json"
    NeuronSet([Neuron("mlp.gate_proj", 1, i) for i in range(7)]).save(path)
    call = ["modules", "--neurons", path, "--model", reference_dir]
    assert "1 of 28 projections hold neurons" in invoke(*call).output
    facts = json.loads(invoke(*call, "--top", "20%", "--json").stdout)
    assert facts["ranking"][0]["path"] == "model.layers.1.mlp.gate_proj" in facts["choice"]["target_modules"]
    assert abs(facts["choice"]["share"] / 0.2 - 1) < 0.01
    listed = invoke(*call, "--top", "20%", "--as", "list").stdout.split()
    assert yaml.safe_load(invoke(*call, "--top", "20%", "--as", "yaml").stdout) == {"target_modules": listed}
    assert invoke(*call, "--top", "20%", "--as", "peft").stdout.strip() == facts["choice"]["expression"]
    block = json.loads(invoke(*call, "--by", "block", "--among", "mlp", "--json").stdout)["ranking"]
    assert [(row["layer"], row["block_neurons"]) for row in block[:3]] == [(1, 7)] * 3 and block[3][
        "block_neurons"
    ] == 0
    with pytest.raises(UsageError, match=r"comes within 1% of 0.1000% of its parameters; the nearest"):
        invoke(*call, "--top", "0.1%")
    with pytest.raises(UsageError, match="one of --top, --bottom and --random"):
        invoke(*call, "--top", "5%", "--bottom", "5%")
    with pytest.raises(UsageError, match="say which with --top"):
        invoke(*call, "--as", "peft")
