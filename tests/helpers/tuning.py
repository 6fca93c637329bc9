"""Fine-tuning of tiny models: a config, and the bits of the weights that changed."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from culnig import Neuron, NeuronSet
from culnig.finetune.settings import FinetuneConfig
from tests.helpers import tiny_models

ROUGH = {"learning_rate": 0.01, "weight_decay": 0.3, "clip": 0.5, "batch": 4, "accumulation": 2}


CHOSEN = NeuronSet(
    [Neuron("mlp.gate_proj", 1, i) for i in (0, 5, 47)]
    + [Neuron("self_attn.q_proj", 0, 3), Neuron("self_attn.k_proj", 0, 15), Neuron("self_attn.v_proj", 2, 7)]
)


def config(base, task, update=None, dtype="float32", **training):
    return FinetuneConfig.model_validate(
        {
            "model": {"name": str(base), "dtype": dtype},
            "prompts": {"formulation": "cf"},
            "task": {"items": task},
            "update": update or {},
            "training": ROUGH | training,
        }
    )


def weights(folder, dtype=torch.float32):
    """Load the weights with plain transformers, without culnig."""
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).named_parameters())


def changed(base, tuned, dtype=torch.float32):
    """Return parameter name -> mask of the entries whose bits differ."""
    before, after = weights(base, dtype), weights(tuned / "model", dtype)
    assert before.keys() == after.keys()
    ints = {torch.float32: torch.int32, torch.bfloat16: torch.int16}[dtype]
    return {name: before[name].view(ints) != after[name].view(ints) for name in before}


def rows_of(base, family):
    """Return parameter name -> its rows in the set (columns in GPT-2), by the maps written by hand in tiny_models."""
    model = tiny_models.build(family)
    names = {id(p): name for name, p in model.named_parameters()}
    sites = tiny_models.by_hand(family, model)
    rows = {}
    for neuron in CHOSEN:
        module, pick = sites[neuron.module, neuron.layer]
        outputs = getattr(module, "out_features", None) or module.nf
        row = int(pick(torch.arange(outputs))[neuron.index])
        rows.setdefault(names[id(module.weight)], set()).add(row)
        if module.bias is not None:
            rows.setdefault(names[id(module.bias)], set()).add(row)
    return rows


def by_row(name, mask, family):
    """Return whether each row of a parameter has changed (columns of GPT-2's Conv1D)."""
    if mask.ndim == 1:
        return mask
    return mask.any(0) if family == "gpt2" and ".h." in name else mask.any(1)
