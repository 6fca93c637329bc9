"""A set in other libraries' words does what `suppress` does."""

from __future__ import annotations

import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.integrations.hook_points import lens_hooks, lens_points, module_points, scale_in_trace
from culnig.models import LanguageModel
from culnig.neurons import GATE, KEY, QUERY, UP, VALUE
from tests.helpers import tiny_models

IDS = torch.arange(3, 60).reshape(3, 19)
CHOSEN = NeuronSet(
    [
        Neuron(module, layer, i)
        for module in (GATE, UP, QUERY, KEY, VALUE)
        for layer in (0, 1)
        for i in (1, 5, 14, 17, 30)
    ]
)


def logits(lm):
    with torch.no_grad():
        return lm.model(IDS).logits


def suppressed(lm):
    with culnig.suppress(lm, CHOSEN):
        return logits(lm)


@pytest.mark.parametrize("kind", ["llama", "phi3", "gpt_neox"])
def test_plain_hooks_at_the_modules(kind):
    """Where the paths and columns say, a hook of torch does the same, fused projections included."""
    lm = LanguageModel(tiny_models.build(kind), tiny_models.tokenizer(), name=kind)
    chosen = NeuronSet([n for n in CHOSEN if n.module in lm.shapes and n.index < lm.shapes[n.module][1]])
    handles = []
    for path, columns in module_points(lm, chosen):

        def hook(module, inputs, output, columns=columns):
            output = output.clone()
            output[..., columns] = 0
            return output

        handles.append(lm.model.get_submodule(path).register_forward_hook(hook))
    hooked = logits(lm)
    for handle in handles:
        handle.remove()
    with culnig.suppress(lm, chosen):
        expected = logits(lm)
    torch.testing.assert_close(hooked, expected)
    assert not torch.allclose(expected, logits(lm))


def test_the_names_of_transformer_lens():
    points = lens_points(NeuronSet([Neuron(QUERY, 3, 17), Neuron(GATE, 3, 2), Neuron(GATE, 0, 9)]))
    assert points == [("blocks.0.mlp.hook_pre", [9]), ("blocks.3.mlp.hook_pre", [2]), ("blocks.3.attn.hook_q", [17])]
    with pytest.raises(UsageError, match=r"no hook for mlp\.down_proj"):
        lens_points(NeuronSet([Neuron("mlp.down_proj", 0, 0)]))


@pytest.mark.slow
def test_nnsight(tiny):
    nnsight = pytest.importorskip("nnsight")
    points = module_points(tiny, CHOSEN)
    model = nnsight.LanguageModel(tiny.model, tokenizer=tiny.tokenizer)
    with torch.no_grad(), model.trace(IDS):
        scale_in_trace(model, points)
        found = model.output.logits.save()
    torch.testing.assert_close(found, suppressed(tiny))


@pytest.mark.slow
def test_transformer_lens(reference_dir):
    pytest.importorskip("transformer_lens")
    from transformer_lens.model_bridge import TransformerBridge

    lm = culnig.load_model(reference_dir)
    expected = suppressed(lm)
    bridge = TransformerBridge.boot_transformers(str(reference_dir), hf_model=lm.model, tokenizer=lm.tokenizer)
    with torch.no_grad():
        found = bridge.run_with_hooks(IDS, fwd_hooks=lens_hooks(CHOSEN))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
