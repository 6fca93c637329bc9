"""Gradients of the loss on plain text, by definition, and the neurons of a set that cost it most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.attribution.text_cost import text_cost
from culnig.errors import UsageError
from culnig.evaluation import costliest, perplexity
from culnig.neurons import GATE, UP
from tests.attribution.test_method_options import Products
from tests.helpers import tiny_models
from tests.helpers.slow_methods import Run, model_of

TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w30 w20 w10", "w8 w8 w9 w11 w12 w200 w100 w50 w51 w52 w53"]


class TextRun(Run):
    """Values of all sites on one text, with the gradients of its loss."""

    def __init__(self, family, lm, ids):
        self.values, handles = {}, []
        for site, found in lm.sites.items():
            if found.stacked is None:
                handles.append(found.module.register_forward_hook(self.hook(site, found, {})))
        self.products = Products(family, lm)
        with self.products():
            embedded = lm.model.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_(True)
            logits = lm.model(inputs_embeds=embedded).logits[0, :-1].log_softmax(-1)
        for handle in handles:
            handle.remove()
        self.loss = -logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum()
        self.loss.backward()

    def contributions(self, site):
        if site.module in (GATE, UP):
            h = self.products.seen[site.layer]
            return (h * h.grad).flatten(0, -2).detach()
        return self.value(site) * self.gradient(site)


@pytest.mark.parametrize("family", tiny_models.CONFIGS)
def test_by_definition(family):
    lm = model_of(family)
    cost = text_cost(lm, TEXTS)
    runs = [TextRun(family, lm, ids) for ids in lm.tokenizer(TEXTS)["input_ids"]]
    tokens = sum(len(ids) - 1 for ids in lm.tokenizer(TEXTS)["input_ids"])
    assert cost.tokens == tokens
    assert cost.loss == pytest.approx(sum(run.loss.item() for run in runs) / tokens, rel=1e-5)
    assert np.log(perplexity(lm, TEXTS).perplexity) == pytest.approx(cost.loss, rel=1e-5)
    for site in lm.sites:
        c = torch.cat([run.contributions(site) for run in runs])
        for got, expected in ((cost.first_order, -c.sum(0)), (cost.fisher, c.square().sum(0))):
            expected = expected.numpy() / tokens
            assert np.abs(expected).max() > 0
            close = 2e-4 * np.abs(expected).max()
            np.testing.assert_allclose(got[site.module][site.layer], expected, atol=close, rtol=0, err_msg=str(site))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())


def test_batches_change_nothing():
    lm = model_of("llama")
    whole, alone = text_cost(lm, TEXTS), text_cost(lm, TEXTS, token_budget=1)
    for module in lm.shapes:
        np.testing.assert_allclose(whole.fisher[module], alone.fisher[module], rtol=1e-3, atol=1e-9)
    with pytest.raises(UsageError, match="no text"):
        text_cost(lm, [])


def test_the_first_order_term_is_the_change_of_a_small_step():
    """Scaling a neuron's product by 1 - e adds e * O to the loss of a token."""
    lm, e = model_of("llama"), 2e-2
    cost = text_cost(lm, TEXTS).first_order[GATE][1]
    for k in np.argsort(-np.abs(cost))[:3]:
        losses = []
        for factor in (1 - e, 1 + e):
            with culnig.scale(lm, NeuronSet([Neuron(UP, 1, int(k))]), factor):
                losses.append(text_cost(lm, TEXTS).loss)
        assert (losses[0] - losses[1]) / (2 * e) == pytest.approx(cost[k], rel=2e-2)


def test_the_costliest_neurons():
    lm = model_of("llama")
    neurons = [Neuron(GATE, layer, i) for layer in range(3) for i in range(0, 48, 4)]
    table = costliest(lm, neurons, TEXTS, exact=len(neurons))
    assert table["estimate"].is_monotonic_decreasing and table["fisher_share"].sum() == pytest.approx(1)
    untouched = perplexity(lm, TEXTS).perplexity
    for _, row in table.head(3).iterrows():
        with culnig.suppress(lm, NeuronSet([Neuron(row["module"], row["layer"], row["neuron"])])):
            assert row["change"] == pytest.approx(perplexity(lm, TEXTS).perplexity / untouched - 1, abs=1e-6)
        assert row["low"] <= row["change"] <= row["high"]
    assert table["estimate"].corr(table["change"], method="spearman") > 0.7
    assert costliest(lm, neurons, TEXTS, exact=2)["change"].notna().sum() == 2
    with pytest.raises(UsageError, match="no neurons"):
        costliest(lm, [], TEXTS)
