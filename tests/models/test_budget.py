"""The token budget of models on GPUs, by pretended GPUs: no memory is allocated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from culnig.models.language_model import (
    CPU_BUDGET,
    LARGEST_BUDGET,
    LanguageModel,
    bytes_per_token,
    kept_per_token,
    suitable_budget,
)
from tests.helpers import tiny_models

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")


def pretended(family, where):
    """A tiny model whose layers are on the given pretended GPUs, and everything else on the first of them."""
    model = tiny_models.build(family)
    lm = LanguageModel(model, None, name=family)
    places = dict(zip(lm.layers, where, strict=True))
    with FakeTensorMode():
        for module in model.modules():
            device = next((d for layer, d in places.items() if module in layer.modules()), where[0])
            for name, p in list(module.named_parameters(recurse=False)):
                empty = torch.empty(p.shape, dtype=p.dtype, device=device)
                setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))
    return lm


def give(monkeypatch, memory):
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory[torch.device(device)])
    )


def weights_on(lm, device):
    return sum(p.numel() * p.element_size() for p in lm.model.parameters() if p.device == device)


def test_weights_count_against_their_own_device(monkeypatch):
    """Each of two GPUs holds its own part alone; before, one had to hold them all."""
    lm = pretended("llama", [FIRST, SECOND, SECOND])
    tokens = bytes_per_token(lm, FIRST, torch.float32)
    room = {place: weights_on(lm, place) + 2 * 1000 * tokens[place] for place in (FIRST, SECOND)}
    give(monkeypatch, room)
    assert suitable_budget(lm, FIRST, torch.float32) == 1000
    give(monkeypatch, room | {SECOND: weights_on(lm, SECOND) + 2 * 700 * tokens[SECOND]})
    assert suitable_budget(lm, FIRST, torch.float32) == 700  # the fuller one decides
    give(monkeypatch, dict.fromkeys(room, 0))
    assert suitable_budget(lm, FIRST, torch.float32) == CPU_BUDGET
    give(monkeypatch, dict.fromkeys(room, 2**40))
    assert suitable_budget(lm, FIRST, torch.float32) == LARGEST_BUDGET


def test_logits_are_counted():
    """An eighth of the tokens needs the vocabulary in the model's type and three times in float32."""
    lm = pretended("llama", [SECOND, SECOND, FIRST])
    tokens = bytes_per_token(lm, FIRST, torch.bfloat16)
    layer = kept_per_token(lm) // 3 * 2
    assert tokens == {SECOND: 2 * layer + 407 * (2 + 12) // 8, FIRST: layer}


def test_weights_that_are_not_loaded_yet_count(monkeypatch):
    with torch.device("meta"):
        lm = LanguageModel(tiny_models.build("llama"), None, name="llama")
    size = sum(p.numel() for p in lm.model.parameters()) * 4
    token = bytes_per_token(lm, FIRST, torch.float32)[FIRST]
    give(monkeypatch, {FIRST: size + 2 * 1000 * token})
    assert suitable_budget(lm, FIRST, torch.float32) == 1000


@pytest.mark.parametrize(
    ("family", "a_layer"),
    [
        # q, k, v, o; gate, up, down
        ("llama", 32 + 16 + 16 + 32 + 48 + 48 + 32),
        # Conv1D: qkv, o; up, down
        ("gpt2", 96 + 32 + 48 + 32),
        # attention, and two of the experts: [gate | up], down
        ("mixtral", 32 + 16 + 16 + 32 + 2 * (96 + 32)),
    ],
)
def test_projections_of_every_kind_are_counted(family, a_layer):
    lm = LanguageModel(tiny_models.build(family), None, name=family)
    assert kept_per_token(lm) == 2 * 3 * a_layer
