"""The exact effect of replacing a neuron by its mean, and `atp:dataset` as its first-order estimate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

import culnig
from culnig import Neuron, NeuronSet
from culnig.attribution import parse_method
from culnig.neurons import GATE, VALUE, Site
from culnig.prompts import PromptPolicy
from tests.helpers import slow_methods as slow
from tests.helpers.slow_methods import model_of
from tests.helpers.tolerances import score_tolerance

CF, MCF = PromptPolicy(formulation="cf"), slow.MCF


@pytest.fixture(scope="module")
def items(word_items):
    return [dataclasses.replace(item, control=False) for item in word_items[:4]]


def some_neurons(lm, count=2):
    rng = np.random.default_rng(0)
    return [
        Neuron(m, int(rng.integers(3)), int(rng.integers(w))) for m, (_, w) in lm.shapes.items() for _ in range(count)
    ]


def p_gold(lm, items, policy):
    return culnig.evaluate(lm, items, policy=policy).rows["p_gold"].to_numpy()


@pytest.mark.parametrize(
    ("family", "policy"), [("llama", MCF), ("llama", CF), ("gpt_neox", MCF), ("phi3", CF), ("mixtral", MCF)]
)
def test_oracle_replaces_exactly(family, policy, items):
    lm = model_of(family)
    neurons, means = some_neurons(lm), culnig.mean_values(lm, items, policy=policy)
    found = culnig.oracle(lm, items, neurons, policy=policy, replacement=means)
    clean, expected = p_gold(lm, items, policy), []
    for neuron in neurons:
        with culnig.replace(lm, NeuronSet([neuron]), means):
            expected.append(clean - p_gold(lm, items, policy))
    largest = np.abs(expected).max()
    assert largest > 1e-5
    np.testing.assert_allclose(found.change, np.transpose(expected), rtol=0, atol=2e-3 * largest)
    zeroed = culnig.oracle(lm, items, neurons, policy=policy).change
    assert np.abs(zeroed - found.change).max() > 0.01 * largest


def test_oracle_as_a_method(items):
    """`oracle:dataset` takes the means of the job's items, `oracle:control` those of each item's control prompt."""
    lm = model_of("llama")
    names = ["oracle:dataset:sample=2", "oracle:control:sample=2"]
    scores = culnig.score(lm, items, policy=MCF, method=names, modules=[GATE])
    method = parse_method(names[0])
    neurons = [n for layer in range(3) for n in method.neurons(Site(GATE, layer), 48)]
    at = tuple(np.array([(n.layer, n.index) for n in neurons]).T)
    found = culnig.oracle(lm, items, neurons, policy=MCF, replacement=culnig.mean_values(lm, items, policy=MCF))
    tolerance = score_tolerance(lm, scores.mean(GATE, method.name)) + 1e-9
    np.testing.assert_allclose(scores.mean(GATE, method.name)[at], found.mean(), rtol=1e-3, atol=tolerance)
    each = []
    for item in items:
        own = culnig.mean_values(lm, [dataclasses.replace(item, question="")], policy=MCF)
        each.append(culnig.oracle(lm, [item], neurons, policy=MCF, replacement=own).mean())
    control = scores.mean(GATE, parse_method(names[1]).name)[at]
    np.testing.assert_allclose(control, np.mean(each, axis=0), rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi3"])
def test_atp_dataset_is_the_first_order_of_replacement(family, items):
    """The derivative of P along the way from the values to their mean is minus the score."""
    lm = model_of(family)
    means = culnig.mean_values(lm, items, policy=MCF)
    name = parse_method("atp:dataset:unweighted").name
    scores = culnig.score(lm, items, policy=MCF, method=name)
    pairs = []
    for neuron in some_neurons(lm, 4):
        found = lm.sites[neuron.site]
        row, mean = int(found.outputs([neuron.index])[0]), float(means.of(neuron.site, [neuron.index])[0])

        def moved(step, found=found, row=row, mean=mean):
            def hook(module, args, output):
                output = output.clone()
                output[..., row] += step * (mean - output[..., row])
                return output

            handle = found.module.register_forward_hook(hook)
            try:
                return p_gold(lm, items, MCF).mean()
            finally:
                handle.remove()

        slope = (moved(0.01) - moved(-0.01)) / 0.02
        pairs.append((-slope, scores.mean(neuron.module, name)[neuron.layer, neuron.index]))
    slopes, estimates = np.transpose(pairs)
    largest = np.abs(slopes).max()
    assert largest > 1e-6
    np.testing.assert_allclose(estimates, slopes, rtol=0, atol=0.02 * largest)


@pytest.mark.model
@pytest.mark.slow
def test_atp_dataset_ranks_replacements_on_a_real_model(smol):
    """Thirty-two neurons, five prompts: the estimate goes with the exact effect of the mean, better than that of zero does."""
    items = culnig.load_items("everyday:neur", limit_per_country=1)[:5]
    means = culnig.mean_values(smol, items)
    name = parse_method("atp:dataset:unweighted").name
    scores = culnig.score(smol, items, method=name)
    rng = np.random.default_rng(0)
    neurons = [
        Neuron(module, layer, int(rng.integers(smol.shapes[module][1])))
        for module in (GATE, VALUE)
        for layer in range(1, smol.num_layers, 4)
        for _ in range(2)
    ]
    estimates = np.array([scores.mean(n.module, name)[n.layer, n.index] for n in neurons])
    exact = culnig.oracle(smol, items, neurons, replacement=means).mean(weighted=False)
    zero = culnig.oracle(smol, items, neurons).mean(weighted=False)
    with_mean, with_zero = (spearmanr(estimates, effect).statistic for effect in (exact, zero))
    print(f"rank correlation with the mean {with_mean:.3f}, with zero {with_zero:.3f}")
    assert with_mean > 0.6 and with_mean > with_zero, (with_mean, with_zero)
