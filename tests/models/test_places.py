"""A plan looks at the model that a run loads: folder, adapter, a checkpoint's own formulation."""

from __future__ import annotations

import json

import pytest

import culnig
from culnig.models.settings import ModelConfig
from culnig.models.skeleton import skeleton
from tests.helpers import tiny_models


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    tiny_models.build("llama").save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


def _alike(name, **options):
    loaded, planned = culnig.load_model(name, **options), skeleton(ModelConfig(name=str(name), **options))
    assert planned.lm.shapes == loaded.shapes and planned.dtype == loaded.dtype
    assert (planned.lm.name, planned.lm.source) == (loaded.name, loaded.source)
    assert planned.lm.formulation == loaded.formulation
    assert planned.parameters == sum(p.numel() for p in loaded.model.parameters())
    return planned


def test_a_checkpoint_keeps_its_formulation(base):
    (base / "culnig.json").write_text(json.dumps({"formulation": "cf"}))
    assert _alike(base).lm.formulation == "cf"


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_folder(base, tmp_path, merge):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "gate_proj"])
    peft.get_peft_model(culnig.load_model(base).model, config).save_pretrained(tmp_path / "adapter")
    planned = _alike(tmp_path / "adapter", merge_adapter=merge)
    assert planned.truncated(1).num_layers == 1
