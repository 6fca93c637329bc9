"""`culnig plan`: counted by hand where it counts, near the truth where it estimates."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

import culnig
from culnig.cli._app import app
from culnig.errors import ModelError
from culnig.models.language_model import OPTIONAL
from culnig.models.settings import ModelConfig
from culnig.models.skeleton import skeleton
from culnig.passes.forward import Row
from culnig.run._plan_memory import shape_of
from culnig.run.config import load_config
from culnig.run.plan import plan
from tests.helpers.configs import write_config


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    return write_config(tmp_path_factory.mktemp("plan"), reference_dir)


def test_flops_are_those_of_pytorch(reference_dir):
    """Products counted by PyTorch's own counter, for one row without branches."""
    from torch.utils.flop_counter import FlopCounterMode

    tiny = culnig.load_model(reference_dir)  # its own: the shared one keeps its attention
    row = Row(0, tuple(range(5, 25)), ((7,), (8,)))
    tiny.model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        tiny.model(input_ids=torch.tensor([row.prompt]), logits_to_keep=1)
    ours, shape = shape_of(tiny).forward(row), shape_of(tiny)
    square, causal = 20 * 20, 20 * 21 // 2  # eager attention computes the whole square
    assert counter.get_total_flops() == ours + 4 * shape.attention * (square - causal)
    assert shape.scoring(row) == 2 * ours


def test_experts_count_as_routed():
    from bench import tiny
    from transformers import AutoModelForCausalLM

    config = tiny.config("mixtral")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    lm = culnig.LanguageModel(model, None, name="mixtral")
    layer = lm.layers[0]
    stacked = sum(p.numel() for p in layer.parameters() if p.ndim == 3)
    flat = sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    assert shape_of(lm).layer_weights == lm.num_layers * (flat + stacked * 2 // 4)


def test_skeleton_is_the_model_without_weights(tiny, reference_dir):
    made = skeleton(ModelConfig(name=str(reference_dir)))
    assert made.lm.shapes == tiny.shapes
    assert made.parameters == sum(p.numel() for p in tiny.model.parameters())
    assert all(p.is_meta for p in made.lm.model.parameters())
    assert made.truncated(1).num_layers == 1


def test_plan_counts_what_run_does(config_path):
    config = load_config(config_path)
    made = plan(config)
    names = [(step.name, step.kind, step.conditions) for step in made.steps]
    culture = [n for n in names if n[0].startswith("test")]
    assert [n[:2] for n in names[:3]] == [("neur", "score"), ("ctrl", "score"), ("crc", "score")]
    assert ("test", "calibrate", 1) in names
    assert sum(conditions for *_, conditions in culture) >= 2 + 1 + 2  # none and general, random, specific
    assert made.steps[0].items == len(config.identify.neur.load(config.seed))
    assert made.seconds is not None and made.seconds > 0 and not made.advice
    assert made.memory.peak == sum(vars(made.memory).values())


def test_says_what_would_fit(config_path):
    small = plan(load_config(config_path), tflops=1.0, memory_gb=0.05)
    assert "will not fit" in small.advice[0] and len(small.advice) > 1
    assert all(step.seconds is not None for step in small.steps)


def test_command_line(config_path):
    done = CliRunner().invoke(app, ["plan", str(config_path), "--tflops", "100", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["flops"] > 0
    shown = CliRunner().invoke(app, ["plan", str(config_path), "--tflops", "100"])
    assert shown.exit_code == 0 and "memory" in shown.stdout and "score neur" in shown.stdout


DIFFERING = (
    "gemma3n_text", "nemotron_h", "falcon_h1", "gpt_oss", "qwen3_next", "deepseek_v3", "llama4_text", "granitemoehybrid",
    "jamba", "lfm2", "minicpm3", "aria_text",
)  # fmt: skip
"""Layers that share keys, states beside or instead of attention, windows, experts in some layers, convolutions, latents."""


@pytest.mark.parametrize("family", DIFFERING)
def test_a_plan_counts_the_model_whose_layers_differ(family, tmp_path, word_items):
    """Neurons, parameters and bytes are those of the loaded model; operations those that PyTorch counts in one pass."""
    from bench import tiny
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny.build(family)
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    lm = culnig.load_model(tmp_path, dtype="float32", device="cpu")
    made = skeleton(ModelConfig(name=str(tmp_path), dtype="float32", device="cpu"))
    assert made.lm.shapes == lm.shapes and made.lm.num_neurons == lm.num_neurons
    assert made.parameters == sum(p.numel() for p in lm.model.parameters())
    assert made.weight_bytes == sum(p.numel() * p.element_size() for p in lm.model.parameters())
    shape = shape_of(made.lm)
    assert shape == shape_of(lm)
    row = Row(0, tuple(range(5, 45)), ((7,),))
    lm.model.set_experts_implementation("eager")  # the counter does not know grouped products
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        lm.model(input_ids=torch.tensor([row.prompt]), logits_to_keep=1, use_cache=False)
    # Scans over tokens and the attention of a whole square are the rest; experts may be run for all tokens (Llama 4).
    assert shape.forward(row) == pytest.approx(counter.get_total_flops(), rel=0.35), family


@pytest.mark.parametrize("family", ["gemma3n_text", "nemotron_h", "deepseek_v3"])
def test_a_plan_times_the_model_whose_layers_differ(family, tmp_path, config_path):
    from bench import tiny

    deep = {
        "gemma3n_text": {},
        "nemotron_h": {},
        "deepseek_v3": {"num_hidden_layers": 9},
    }
    tiny.build(family, **deep[family]).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    made = plan(load_config(config_path, [f"model.name={tmp_path}", "prompts.formulation=mcf"]))
    assert made.seconds and made.memory.activations > 0 and made.neurons == culnig.load_model(tmp_path).num_neurons


def test_the_first_layers_are_those_of_the_whole_model():
    """Of every architecture and depth, so that what is measured is a part of what will run."""
    from bench import tiny
    from transformers import AutoModelForCausalLM

    from culnig.models.quiet import quiet
    from culnig.models.skeleton import Skeleton, layer_kinds

    for family in DIFFERING:
        config = tiny.config(family)
        with quiet(), torch.device("meta"):
            lm = culnig.LanguageModel(AutoModelForCausalLM.from_config(config), None, name=family)
        whole = Skeleton(lm, config, torch.float32, torch.device("cpu"), None)
        complete = next(
            n
            for n in range(1, 9)
            if all(any(s.layer < n and s.module == m for s in lm.sites) for m in set(lm.shapes) - set(OPTIONAL))
        )
        if complete > 1:  # a model without attention, say, is none of the family
            with pytest.raises(ModelError, match="no layer of"):
                whole.truncated(complete - 1)
        for layers in range(complete, lm.num_layers):
            first = whole.truncated(layers)
            assert first.num_layers == layers and layer_kinds(first) == layer_kinds(lm)[:layers], (family, layers)
