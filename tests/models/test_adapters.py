"""Adapters and quantised projections: same sites, suppression by hooks, the same logits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import culnig
from culnig import Neuron, NeuronSet
from culnig.cli._app import app
from culnig.errors import ModelError, UsageError
from culnig.finetune.movement import row_changes
from culnig.models import LanguageModel
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models
from tests.helpers.slow_reference import slow_scores
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF = PromptPolicy(formulation="cf")
SET = NeuronSet([Neuron("mlp.gate_proj", 1, 5), Neuron("self_attn.q_proj", 0, 3), Neuron("self_attn.v_proj", 2, 7)])
IDS = torch.arange(3, 60).reshape(3, 19)


def logits(lm):
    with torch.no_grad():
        return lm.model(IDS).logits


@pytest.fixture
def base(tmp_path):
    """A saved tiny Llama."""
    folder = tmp_path / "base"
    tiny_models.build("llama").save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(base, tmp_path):
    """A folder with a LoRA adapter on q_proj and gate_proj, and nothing else."""
    peft = pytest.importorskip("peft")
    model = culnig.load_model(base).model
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "gate_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_adapter_is_part_of_the_model(adapter, base, word_items):
    plain, lm, merged = (
        culnig.load_model(base),
        culnig.load_model(adapter),
        culnig.load_model(adapter, merge_adapter=True),
    )
    assert lm.name == "adapter" and lm.shapes == plain.shapes and lm.fingerprint != plain.fingerprint
    assert not torch.allclose(logits(lm), logits(plain), atol=1e-3)
    torch.testing.assert_close(logits(merged), logits(lm), atol=1e-4, rtol=1e-4)
    a, b = (culnig.score(m, word_items[:5], policy=CF) for m in (lm, merged))
    for site, sums in slow_scores(lm, word_items[:5], CF).items():
        for scores in (a, b):
            got = scores.sums["culnig", site.module][:, site.layer]
            np.testing.assert_allclose(got, sums, atol=5e-4 * np.abs(sums).max(), rtol=0)


def test_suppression_with_an_adapter(adapter):
    lm, merged = culnig.load_model(adapter), culnig.load_model(adapter, merge_adapter=True)
    before = logits(lm)
    with culnig.suppress(lm, SET), culnig.suppress(merged, SET, how="weights"):
        torch.testing.assert_close(logits(lm), logits(merged), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(logits(lm), before, atol=1e-3)
    assert torch.equal(logits(lm), before)
    refusal = pytest.raises(UsageError, match=r"mlp.gate_proj in layer 1 cannot be edited; use hooks")
    with refusal, culnig.suppress(lm, SET, how="weights"):
        pass


def test_what_an_adapter_moved(adapter, base, tmp_path):
    """`compare` adds it to the weights; rows of projections without one have not moved."""
    SET.save(tmp_path / "set.json")
    done = CliRunner().invoke(
        app, ["compare", str(base), str(adapter), "--neurons", str(tmp_path / "set.json"), "--json"]
    )
    moved = {row["module"]: row["change"] > 0 for row in json.loads(done.stdout)["neurons"]}
    assert moved == {"mlp.gate_proj": True, "self_attn.q_proj": True, "self_attn.v_proj": False}
    with pytest.raises(UsageError, match="adapter beside it"):
        row_changes(culnig.load_model(base), culnig.load_model(adapter))


def test_wrapped_by_the_user(base):
    """A model that the user wrapped is taken as it is; prompt tuning is refused."""
    peft = pytest.importorskip("peft")
    lm = culnig.load_model(base)
    wrapped = peft.get_peft_model(lm.model, peft.LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    assert LanguageModel(wrapped, lm.tokenizer, name="x").shapes == lm.shapes
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    prompted = peft.get_peft_model(culnig.load_model(base).model, config)
    with pytest.raises(ModelError, match="PROMPT_TUNING adapters are not supported"):
        LanguageModel(prompted, lm.tokenizer, name="x")


def test_adapter_without_peft(base, tmp_path, monkeypatch):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    monkeypatch.setattr("culnig.models.places.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs peft: pip install peft"):
        culnig.load_model(folder)
    monkeypatch.setattr("culnig.models.places.find_spec", lambda name: object())
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not say what its base model is"):
        culnig.load_model(folder)


def test_quantize_needs_bitsandbytes(base, monkeypatch):
    with pytest.raises(UsageError, match="unknown quantisation '3bit'; there are 4bit and 8bit"):
        culnig.load_model(base, quantize="3bit")
    monkeypatch.setattr("culnig.models.places.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs bitsandbytes: pip install bitsandbytes"):
        culnig.load_model(base, quantize="4bit")


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_bitsandbytes(quantize, word_items, tmp_path, monkeypatch):
    """With the library itself: the right scores, also after an evaluation; suppression by hooks."""
    pytest.importorskip("bitsandbytes")
    tiny_models.build("llama", hidden_size=64, intermediate_size=128).save_pretrained(tmp_path)
    tiny_models.tokenizer().save_pretrained(tmp_path)
    full, lm = culnig.load_model(tmp_path), culnig.load_model(tmp_path, quantize=quantize, device="cpu")
    before = logits(lm)
    with culnig.suppress(lm, SET):
        seen = {}
        handle = lm.sites["mlp.gate_proj", 1].module.register_forward_hook(lambda m, a, out: seen.update(out=out))
        assert not torch.allclose(logits(lm), before, atol=1e-3)
        handle.remove()
        assert (seen["out"][..., 5] == 0).all() and (seen["out"][..., 6] != 0).any()
    # 8-bit rounds the activations too, which is no smooth function: there only the likeness to full precision is tested.
    a, b = (culnig.score(m, word_items[:5], policy=CF) for m in (full, lm))
    for site, sums in slow_scores(lm, word_items[:5], CF).items():
        got, of_full = (scores.sums["culnig", site.module][:, site.layer] for scores in (b, a))
        if quantize == "4bit":
            np.testing.assert_allclose(got, sums, atol=1e-3 * np.abs(sums).max(), rtol=0)
        else:
            assert np.corrcoef(got.ravel(), of_full.ravel())[0, 1] > 0.9


class Int8Linear(nn.Module):
    """Stands for a quantised projection: whole-number weights, and a class of its own."""

    def __init__(self, linear):
        super().__init__()
        self.out_features, self.scale = linear.out_features, linear.weight.abs().max() / 127
        self.weight = nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale)


def test_suppression_of_quantised_projections(base):
    quantised, plain = (culnig.load_model(base) for _ in range(2))
    for lm in (quantised, plain):
        for layer in lm.layers:
            linear = Int8Linear(layer.mlp.gate_proj)
            if lm is quantised:
                layer.mlp.gate_proj = linear
            else:
                layer.mlp.gate_proj.weight.data = linear.weight.float() * linear.scale
    with culnig.suppress(quantised, SET), culnig.suppress(plain, SET, how="weights"):
        # Dequantised in the pass or before it: the products are the same, their order need not be.
        expected = logits(plain)
        torch.testing.assert_close(logits(quantised), expected, rtol=0, atol=output_tolerance(plain, expected))
    with pytest.raises(UsageError, match="cannot be edited"), culnig.suppress(quantised, SET, how="weights"):
        pass


def test_offloaded_weights_give_the_same(base, word_items):
    """What `device_map` does where memory is short: weights kept elsewhere, brought in for each pass."""
    import copy

    from accelerate import cpu_offload

    whole = culnig.load_model(base)
    model = cpu_offload(copy.deepcopy(whole.model), execution_device=torch.device("cpu"))
    away = culnig.LanguageModel(model, whole.tokenizer, name=whole.name)
    assert all(p.is_meta for p in away.layers.parameters())
    assert away.fingerprint == whole.fingerprint and away.device.type == "cpu"
    scores = [culnig.score(lm, word_items, formulation="cf") for lm in (whole, away)]
    for key, sums in scores[0].sums.items():
        # Weights that are brought in may lie otherwise in memory, and kernels then add in another order.
        np.testing.assert_allclose(scores[1].sums[key], sums, rtol=0, atol=score_tolerance(whole, sums))
    neurons = culnig.select_general(scores[0], scores[0], scores[0], r=0.0, t_mlp=0.1)
    results = []
    for lm in (whole, away):
        with culnig.suppress(lm, neurons):
            results.append(culnig.evaluate(lm, word_items, formulation="cf").rows)
    # A probability's relative error is its log-probability's error.
    close = output_tolerance(whole, np.concatenate(results[0]["option_logprobs"]))
    np.testing.assert_allclose(results[1]["p_gold"], results[0]["p_gold"], rtol=close)


def test_device_map(base, word_items):
    mapped = culnig.load_model(base, device_map="auto")
    plain = culnig.load_model(base)
    a, b = (culnig.evaluate(lm, word_items, formulation="cf").rows for lm in (mapped, plain))
    # A probability's relative error is its log-probability's error.
    close = output_tolerance(plain, np.concatenate(b["option_logprobs"]))
    np.testing.assert_allclose(a["p_gold"], b["p_gold"], rtol=close)
    with pytest.raises(UsageError, match="unknown device map"):
        culnig.load_model(base, device_map="sideways")


def test_replacement_with_an_adapter(adapter, word_items):
    """By hooks, since an edit of the base weights would leave the adapter's share in."""
    lm, merged = culnig.load_model(adapter), culnig.load_model(adapter, merge_adapter=True)
    before, numbers = logits(lm), dict.fromkeys(SET, 0.3)
    with culnig.replace(lm, SET, numbers), culnig.replace(merged, SET, numbers, how="weights"):
        torch.testing.assert_close(logits(lm), logits(merged), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(logits(lm), before, atol=1e-3)
    assert torch.equal(logits(lm), before)
    refusal = pytest.raises(UsageError, match=r"mlp.gate_proj in layer 1 cannot be edited; use hooks")
    with refusal, culnig.replace(lm, SET, numbers, how="weights"):
        pass
