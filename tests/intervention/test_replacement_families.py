"""Replacement by means on every family: weights, hooks and a slow reference agree, and the model is restored."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.intervention import Operation
from culnig.intervention.export import export
from culnig.models import LanguageModel
from culnig.neurons import Site
from culnig.prompts import PromptPolicy, encode, render
from tests.helpers import tiny_models
from tests.helpers.edits import IDS, logits, same, snapshot
from tests.helpers.tolerances import output_tolerance

pytestmark = pytest.mark.slow

MCF = PromptPolicy(formulation="mcf")


@pytest.fixture(scope="module", params=tiny_models.CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def lm(family):
    return LanguageModel(tiny_models.build(family), tiny_models.tokenizer(), name=family)


@pytest.fixture(scope="module")
def items(word_items):
    return word_items[:5]


@pytest.fixture(scope="module")
def means(lm, items):
    return culnig.mean_values(lm, items, policy=MCF)


def is_expert(family, module):
    return family in tiny_models.EXPERTS and module.startswith("mlp.")


def some_of_every_site(lm, family):
    """Several neurons of every site; of experts some of each, since one expert may see no token."""
    found = []
    for module, (layers, width) in lm.shapes.items():
        step = 3 if is_expert(family, module) else width // 3
        found += [Neuron(module, layer, i) for layer in range(layers) for i in range(1, width, step)]
    return NeuronSet(found)


@contextmanager
def by_hand(lm, family, neurons, means):
    """A plain hook that writes each number at each position, one by one; experts are computed densely."""
    handles, patched = [], []
    maps = tiny_models.by_hand(family, lm.model)
    for site, indices in neurons.by_site().items():
        numbers = [float(means.values[site.module][site.layer, i]) for i in indices]
        if is_expert(family, site.module):
            continue
        module, pick = maps[site]

        def put(_module, _args, output, indices=indices, numbers=numbers, pick=pick):
            output = output.clone()
            columns = pick(torch.arange(output.shape[-1]))
            for row in output.view(-1, output.shape[-1]):
                for index, number in zip(indices, numbers, strict=True):
                    row[columns[index]] = number
            return output

        handles.append(module.register_forward_hook(put))
    for layer_index, layer in enumerate(lm.layers if family in tiny_models.EXPERTS else []):

        def values(gate, up, layer_index=layer_index):
            changed = []
            for module, value in (("mlp.gate_proj", gate), ("mlp.up_proj", up)):
                value = value.clone()
                for index in neurons.by_site().get(Site(module, layer_index), []):
                    value[:, index] = float(means.values[module][layer_index, index])
                changed.append(value)
            return changed

        layer.mlp.experts.forward = tiny_models.dense_experts(layer.mlp.experts, values)
        patched.append(layer.mlp.experts)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in patched:
            del module.forward


def slow_means(lm, family, items):
    """Each item's mean over positions, then the mean over items."""
    encoded = encode(render(items, MCF), lm.tokenizer, MCF, lm.max_length)
    seen = [values_by_hand(lm, family, each.prompt_ids) for each in encoded]
    return {site: sum(values[site].mean(0).double() for values in seen) / len(seen) for site in lm.sites}


def values_by_hand(lm, family, tokens):
    """Site -> [T, N]; 0 at experts that a token is not routed to."""
    seen, handles, patched = {}, [], []

    def watch(site, pick):
        return lambda module, args, output: seen.__setitem__(site, pick(output)[0])

    for place, (module, pick) in tiny_models.by_hand(family, lm.model).items():
        handles.append(module.register_forward_hook(watch(Site(*place), pick)))
    for index, layer in enumerate(lm.layers if family in tiny_models.EXPERTS else []):
        experts = layer.mlp.experts

        def forward(hidden, top_k_index, top_k_weights, experts=experts, index=index):
            both = torch.einsum("sh,erh->ser", hidden, experts.gate_up_proj)
            routed = torch.zeros(len(hidden), experts.num_experts).scatter(1, top_k_index, 1.0)
            for name, half in zip(("mlp.gate_proj", "mlp.up_proj"), both.chunk(2, dim=-1), strict=True):
                seen[Site(name, index)] = (half * routed[:, :, None]).flatten(1)
            return type(experts).forward(experts, hidden, top_k_index, top_k_weights)

        experts.forward = forward
        patched.append(experts)
    with torch.no_grad():
        lm.model(torch.tensor([tokens]))
    for handle in handles:
        handle.remove()
    for module in patched:
        del module.forward
    return seen


def test_means_by_definition(lm, family, items, means):
    for site, expected in slow_means(lm, family, items).items():
        got = means.values[site.module][site.layer]
        np.testing.assert_allclose(
            got, expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()), err_msg=str(site)
        )


def test_weights_equal_hooks_equal_a_slow_reference(lm, family, means):
    everything = some_of_every_site(lm, family)
    before, state = logits(lm), snapshot(lm)
    for module in lm.shapes:
        neurons = NeuronSet([neuron for neuron in everything if neuron.module == module])
        with by_hand(lm, family, neurons, means):
            expected = logits(lm)
        assert not torch.allclose(before, expected, atol=1e-4), module
        for how in ("auto", "hooks") if is_expert(family, module) else ("weights", "hooks"):
            with culnig.replace(lm, neurons, means, how=how):
                got = logits(lm)
            torch.testing.assert_close(got, expected, rtol=0, atol=output_tolerance(lm, expected), msg=module)
            assert same(lm, state) and torch.equal(logits(lm), before)
    with by_hand(lm, family, everything, means):
        expected = logits(lm)
    with culnig.replace(lm, everything, means):
        torch.testing.assert_close(logits(lm), expected, rtol=0, atol=output_tolerance(lm, expected))
    assert same(lm, state)


@pytest.mark.slow
def test_export_or_a_clear_refusal(lm, family, means, tmp_path):
    """A checkpoint gives the edited logits in plain transformers; where no config holds the bias, nothing is written."""
    operation, state = Operation.parse("mean"), snapshot(lm)
    for module in lm.shapes:
        neurons = NeuronSet([Neuron(module, 1, 3)])
        folder = tmp_path / module
        try:
            export(lm, neurons, operation, folder, means)
        except UsageError as error:
            refused = "cannot be edited" if is_expert(family, module) else "cannot hold the bias of"
            assert refused in str(error) and not folder.exists(), module
            assert (family, module) not in HOLDS and (family, "all") not in HOLDS
        else:
            with culnig.replace(lm, neurons, means):
                expected = logits(lm)
            with torch.no_grad():
                loaded = type(lm.model).from_pretrained(folder)
                torch.testing.assert_close(loaded(IDS).logits, expected, rtol=0, atol=0)
        assert same(lm, state) and not list(tmp_path.glob(".*"))


HOLDS = {("llama", "all"), ("granite", "all"), ("smollm3", "all"), ("gpt2", "all"), ("gpt_neox", "all")}
HOLDS |= {(family, f"self_attn.{p}_proj") for family in ("qwen2", "qwen3", "gemma3_text", "glm") for p in "qkv"}
"""Families, and modules, whose configs are known to hold the biases."""
