"""Suppression: exact, equal to hooks, and undone to the byte."""

from __future__ import annotations

import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.intervention import Operation
from tests.helpers.tolerances import output_tolerance

SET = NeuronSet(
    [
        Neuron("mlp.gate_proj", 1, 5),
        Neuron("mlp.gate_proj", 1, 77),
        Neuron("self_attn.q_proj", 0, 3),
        Neuron("self_attn.v_proj", 3, 31),
    ]
)
IDS = torch.arange(3, 60).reshape(3, 19)


def logits(lm):
    with torch.no_grad():
        return lm.model(IDS).logits


def state(lm):
    return {name: p.detach().clone() for name, p in lm.model.named_parameters()}


@pytest.mark.parametrize("factor", [0.0, 2.0, 0.5])
def test_weights_equal_hooks(tiny, factor):
    before = logits(tiny)
    with culnig.scale(tiny, SET, factor, how="weights"):
        edited = logits(tiny)
    with culnig.scale(tiny, SET, factor, how="hooks"):
        hooked = logits(tiny)
    # Scaled weights and scaled outputs round at different places.
    torch.testing.assert_close(edited, hooked, rtol=0, atol=output_tolerance(tiny, hooked))
    assert not torch.allclose(edited, before, atol=1e-4)
    assert torch.equal(logits(tiny), before)


def test_suppression_zeroes_the_value(tiny):
    seen = {}
    module = tiny.sites[("mlp.gate_proj", 1)].module
    with culnig.suppress(tiny, SET):
        handle = module.register_forward_hook(lambda m, a, out: seen.update(out=out))
        logits(tiny)
        handle.remove()
    assert (seen["out"][..., [5, 77]] == 0).all() and (seen["out"][..., 6] != 0).any()


def test_restores_bytes_whatever_happens(tiny):
    before = state(tiny)
    with pytest.raises(RuntimeError, match="inside"), culnig.suppress(tiny, SET):
        raise RuntimeError("inside")
    assert all(torch.equal(p, before[name]) for name, p in tiny.model.named_parameters())


def test_nested(tiny):
    before = state(tiny)
    more = NeuronSet([Neuron("mlp.gate_proj", 1, 5), Neuron("mlp.gate_proj", 2, 9)])
    with culnig.scale(tiny, SET, 3.0):
        outer = logits(tiny)
        with culnig.scale(tiny, more, 0.5):
            inner = logits(tiny)
        assert torch.equal(logits(tiny), outer)
    with culnig.scale(tiny, SET, 3.0, how="hooks"), culnig.scale(tiny, more, 0.5, how="hooks"):
        # Scaled weights and scaled outputs round at different places.
        torch.testing.assert_close(logits(tiny), inner, rtol=0, atol=output_tolerance(tiny, inner))
    assert all(torch.equal(p, before[name]) for name, p in tiny.model.named_parameters())


def test_empty_set_changes_nothing(tiny):
    before = logits(tiny)
    with culnig.suppress(tiny, NeuronSet()):
        assert torch.equal(logits(tiny), before)


@pytest.mark.parametrize(
    "neuron", [Neuron("mlp.gate_proj", 99, 0), Neuron("mlp.gate_proj", 0, 9999), Neuron("mlp.nope", 0, 0)]
)
def test_foreign_neuron(tiny, neuron):
    with pytest.raises(UsageError, match="is not in"), culnig.suppress(tiny, NeuronSet([neuron])):
        pass


def test_operations():
    assert Operation.parse("suppress").factor == 0 and Operation.parse("enhance").factor == 2
    assert Operation.parse("scale=0.5").factor == 0.5
    for wrong in ("delete", "scale", "scale=much", "scale=nan"):
        with pytest.raises(UsageError, match="unknown operation"):
            Operation.parse(wrong)


def test_export_loads_in_plain_transformers(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    from culnig.intervention.export import export

    with culnig.suppress(tiny, SET):
        expected = logits(tiny)
    folder = export(tiny, SET, Operation.parse("suppress"), tmp_path / "checkpoint")
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(folder)(IDS).logits, expected)
    with pytest.raises(UsageError, match="exists already"):
        export(tiny, SET, Operation.parse("suppress"), folder)
