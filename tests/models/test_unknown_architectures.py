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
def ctrl():
    """An architecture that is not in the table."""
    from transformers import CTRLConfig, CTRLLMHeadModel

    torch.manual_seed(5)
    config = CTRLConfig(vocab_size=407, n_positions=256, n_embd=32, dff=64, n_layer=2, n_head=4, initializer_range=0.15)
    return CTRLLMHeadModel(config)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES.items()))


def test_unknown_is_refused_with_its_modules(ctrl):
    with pytest.raises(
        ModelError, match=r"'ctrl' is not known: it begins.*transformer.h.0.ffn.0 \(64, 32\).*extending.md"
    ):
        LanguageModel(ctrl, tiny_models.tokenizer(), name="ctrl")


@pytest.mark.parametrize("formulation", ["cf", "mcf"])
def test_registered_in_ten_lines(ctrl, registered, word_items, formulation):
    # The example of docs/extending.md.
    FAMILIES.register("ctrl")(
        Family(
            layers="transformer.h",
            sites={
                "mlp.gate_proj": SiteLocation("ffn.0"),
                "self_attn.q_proj": SiteLocation("multi_head_attention.Wq"),
                "self_attn.k_proj": SiteLocation("multi_head_attention.Wk"),
                "self_attn.v_proj": SiteLocation("multi_head_attention.Wv"),
            },
        )
    )
    lm = LanguageModel(ctrl, tiny_models.tokenizer(), name="ctrl")
    assert lm.shapes["mlp.gate_proj"] == (2, 64)
    policy = PromptPolicy(formulation=formulation)
    scores = culnig.score(lm, word_items[:5], policy=policy)
    for site, sums in slow_scores(lm, word_items[:5], policy).items():
        got = scores.sums["culnig", site.module][:, site.layer]
        np.testing.assert_allclose(got, sums, atol=1e-4 * np.abs(sums).max(), rtol=0)
    with pytest.raises(UsageError, match="registered twice"):
        FAMILIES.register("ctrl")(Family("elsewhere", {}))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Family("transformer.blocks", {"mlp.gate_proj": SiteLocation("ffn.0")}), "has no 'blocks'"),
        (Family("transformer.h", {"mlp.gate_proj": SiteLocation("mlp.w1")}), "has no 'mlp'"),
        (Family("transformer.h", {"mlp.gate_proj": SiteLocation("layernorm1")}), "not a projection"),
        (
            Family("transformer.h", {"mlp.gate_proj": SiteLocation("ffn.0", lambda c: (0, 65))}),
            "64 outputs.*reach 65",
        ),
        (Family("transformer.h", gate_up("ffn.0", "dff", stacked="gate_up_proj")), "no stacked parameter"),
    ],
)
def test_wrong_maps_are_refused(ctrl, registered, family, message):
    FAMILIES.register("ctrl")(family)
    with pytest.raises(ModelError, match=message):
        _ = LanguageModel(ctrl, tiny_models.tokenizer(), name="ctrl").shapes


def test_experts_of_another_kind_are_refused():
    model = tiny_models.build("mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.has_post_expert_norm = True
    with pytest.raises(ModelError, match="experts with norms or in other forms"):
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
    with pytest.raises(
        ModelError, match=r"cannot keep answers apart .layers of kind linear_attention.; score with mcf"
    ):
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


def test_a_place_that_no_layer_has_is_refused(ctrl, registered):
    """A family may name several places; a slip in all of them is no model without neurons."""
    FAMILIES.register("ctrl")(
        Family("transformer.h", {"mlp.gate_proj": (SiteLocation("ffn.zero"), SiteLocation("w1"))})
    )
    with pytest.raises(ModelError, match=r"no layer of ctrl has mlp.gate_proj"):
        _ = LanguageModel(ctrl, tiny_models.tokenizer(), name="ctrl").shapes


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
    (tmp_path / "my_ctrl_family.py").write_text(
        "from culnig.models import FAMILIES, Family, SiteLocation\n"
        "FAMILIES.register('ctrl')(Family('transformer.h', {'mlp.gate_proj': SiteLocation('ffn.0')}))\n"
    )
    info = tmp_path / "my_ctrl-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-ctrl\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[culnig.model_families]\nctrl = my_ctrl_family\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FAMILIES, "_discovered", False)
    assert FAMILIES.get("ctrl").layers == "transformer.h"
