"""Architectures that culnig does not ship: registered in ten lines, or refused with what it takes to register them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import culnig
from culnig.cli._app import app
from culnig.errors import ModelError, UsageError
from culnig.models import FAMILIES, Family, LanguageModel, SiteLocation, gate_up
from culnig.models.sites import locate
from culnig.neurons import Site
from culnig.passes.experts import tapped
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models
from tests.helpers.slow_reference import slow_scores
from tests.helpers.tolerances import additions_through, float32_tolerance


@pytest.fixture
def opt():
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(5)
    config = OPTConfig(
        vocab_size=407,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        word_embed_proj_dim=16,
        init_std=0.15,
    )
    return OPTForCausalLM(config)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES.items()))


def test_unknown_is_refused_with_its_modules(opt):
    with pytest.raises(ModelError, match=r"'opt' is not known.*model.decoder.layers.0.fc1 \(64, 32\).*extending.md"):
        LanguageModel(opt, tiny_models.tokenizer(), name="opt")


@pytest.mark.parametrize("formulation", ["cf", "mcf"])
def test_registered_in_ten_lines(opt, registered, word_items, formulation):
    # The example of docs/extending.md.
    FAMILIES.register("opt")(
        Family(
            layers="model.decoder.layers",
            sites={
                "mlp.gate_proj": SiteLocation("fc1"),
                "self_attn.q_proj": SiteLocation("self_attn.q_proj"),
                "self_attn.k_proj": SiteLocation("self_attn.k_proj"),
                "self_attn.v_proj": SiteLocation("self_attn.v_proj"),
            },
        )
    )
    lm = LanguageModel(opt, tiny_models.tokenizer(), name="opt")
    assert lm.shapes["mlp.gate_proj"] == (2, 64)
    policy = PromptPolicy(formulation=formulation)
    scores = culnig.score(lm, word_items[:5], policy=policy)
    for site, sums in slow_scores(lm, word_items[:5], policy).items():
        got = scores.sums["culnig", site.module][:, site.layer]
        np.testing.assert_allclose(got, sums, atol=1e-4 * np.abs(sums).max(), rtol=0)
    with pytest.raises(UsageError, match="registered twice"):
        FAMILIES.register("opt")(Family("elsewhere", {}))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Family("model.blocks", {"mlp.gate_proj": SiteLocation("fc1")}), "has no 'blocks'"),
        (Family("model.decoder.layers", {"mlp.gate_proj": SiteLocation("mlp.w1")}), "has no 'mlp'"),
        (Family("model.decoder.layers", {"mlp.gate_proj": SiteLocation("final_layer_norm")}), "not a projection"),
        (
            Family("model.decoder.layers", {"mlp.gate_proj": SiteLocation("fc1", lambda c: (0, 65))}),
            "64 outputs.*reach 65",
        ),
        (Family("model.decoder.layers", gate_up("fc1", "ffn_dim", stacked="gate_up_proj")), "no stacked parameter"),
    ],
)
def test_wrong_maps_are_refused(opt, registered, family, message):
    FAMILIES.register("opt")(family)
    with pytest.raises(ModelError, match=message):
        _ = LanguageModel(opt, tiny_models.tokenizer(), name="opt").shapes


def test_experts_of_another_kind_are_refused():
    model = tiny_models.build("mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.has_bias = True
    with pytest.raises(ModelError, match="experts with biases"):
        locate(Site("mlp.gate_proj", 0), SiteLocation("mlp.experts", stacked="gate_up_proj"), experts, model.config)


def test_experts_run_as_always_outside_a_block():
    model = tiny_models.build("mixtral").eval()
    before, ids = model.config._experts_implementation, torch.arange(3, 22)[None]
    with torch.no_grad():
        plain = model(ids).logits
        with tapped(model.model.layers[0].mlp.experts, lambda expert, tokens, output: output):
            assert model.config._experts_implementation == "culnig"
            # Tapped experts run one by one and add their outputs in another order.
            lm = LanguageModel(model, tiny_models.tokenizer(), name="mixtral")
            close = float32_tolerance(additions_through(lm, passes=1), plain.abs().max())
            torch.testing.assert_close(model(ids).logits, plain, rtol=0, atol=close)
        assert model.config._experts_implementation == before
        assert torch.equal(model(ids).logits, plain)


def test_layers_that_no_mask_binds_are_refused(word_items):
    """A recurrent layer would let answers packed side by side see each other: an error, not a wrong score."""
    lm = LanguageModel(tiny_models.build("qwen3"), tiny_models.tokenizer(), name="hybrid")
    lm.text_config.layer_types = ["linear_attention", "full_attention", "linear_attention"]
    with pytest.raises(ModelError, match="linear_attention cannot keep answers apart; score with mcf"):
        culnig.score(lm, word_items, policy=PromptPolicy(formulation="cf"))
    lm.text_config.layer_types, lm.text_config._attn_implementation = ["full_attention"] * 3, "flash_attention_2"
    with pytest.raises(ModelError, match="'flash_attention_2' takes no tree mask"):
        culnig.score(lm, word_items, policy=PromptPolicy(formulation="cf"))


def test_inspect_prints_experts(tmp_path):
    tiny_models.build("mixtral").save_pretrained(tmp_path / "moe")
    tiny_models.tokenizer().save_pretrained(tmp_path / "moe")
    found = CliRunner().invoke(app, ["models", "inspect", str(tmp_path / "moe"), "--json"])
    sites = json.loads(found.stdout)["sites"]
    assert sites["mlp.gate_proj"] == {"layers": 3, "neurons": 192, "experts": 4}
    assert sites["self_attn.k_proj"] == {"layers": 3, "neurons": 16}
    assert (
        "3 layers x 4 experts x 48 neurons"
        in CliRunner().invoke(app, ["models", "inspect", str(tmp_path / "moe")]).stdout
    )


def test_layers_of_different_widths_are_refused(opt, registered):
    FAMILIES.register("opt")(Family("model.decoder.layers", {"mlp.gate_proj": SiteLocation("fc1")}))
    opt.model.decoder.layers[1].fc1 = torch.nn.Linear(32, 48)
    with pytest.raises(ModelError, match=r"different widths \(48, 64\)"):
        _ = LanguageModel(opt, tiny_models.tokenizer(), name="opt").shapes


def test_a_neuron_carries_its_expert(word_items, tmp_path):
    lm = LanguageModel(tiny_models.build("qwen3_moe"), tiny_models.tokenizer(), name="moe")
    assert lm.shapes["mlp.gate_proj"] == (3, 5 * 24) and lm.expert_widths["mlp.gate_proj"] == 24
    scores = culnig.score(lm, word_items, policy=PromptPolicy(formulation="cf"))
    scores.save(tmp_path / "s.safetensors")
    scores = culnig.Scores.load(tmp_path / "s.safetensors")
    control = culnig.score(lm, word_items, policy=PromptPolicy(formulation="cf"), control=True)
    chosen = culnig.select_general(scores, control, control, t_mlp=0.2, t_attn=0.1, r=0.0)
    assert {n.module for n in chosen} > {"mlp.gate_proj"}
    for neurons in (chosen, chosen.top(5), culnig.select_random(chosen.top(9), lm.shapes)):
        neurons.save(tmp_path / "n.json")
        loaded = culnig.NeuronSet.load(tmp_path / "n.json")
        assert loaded == neurons and loaded.expert_widths == neurons.expert_widths == lm.expert_widths
        for row in loaded.to_json()["top_neurons"]:
            if row["module_name"] == "mlp.gate_proj":
                assert row["expert_idx"] == row["neuron_idx"] // 24 < 5
            else:
                assert "expert_idx" not in row


def test_entry_point(registered, tmp_path, monkeypatch):
    """A family in an installed package is found without an import by the user."""
    (tmp_path / "my_opt_family.py").write_text(
        "from culnig.models import FAMILIES, Family, SiteLocation\n"
        "FAMILIES.register('opt')(Family('model.decoder.layers', {'mlp.gate_proj': SiteLocation('fc1')}))\n"
    )
    info = tmp_path / "my_opt-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-opt\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[culnig.model_families]\nopt = my_opt_family\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FAMILIES, "_discovered", False)
    assert FAMILIES.get("opt").layers == "model.decoder.layers"
