"""Means of signed sums over items that share tokens are those of `score`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import culnig
from culnig.attribution import parse_method, pooled
from culnig.prompts import PromptPolicy
from tests.helpers import slow_methods as slow
from tests.helpers.slow_methods import model_of
from tests.helpers.tolerances import score_tolerance

CF = PromptPolicy(formulation="cf", calibration="pmi")
SEARCH = "culnig:sum:odds:unweighted:product"


@pytest.fixture(scope="module")
def items(word_items):
    """Six questions with their options in two orders, and three more, so that prompts share much and differ somewhere."""
    first = [dataclasses.replace(item, control=False) for item in word_items[:6]]
    turned = [dataclasses.replace(item, id=f"{item.id}-turned", options=item.options[::-1]) for item in first]
    return [*first, *turned, *word_items[6:9]]


@pytest.mark.parametrize(
    ("family", "method", "policy"),
    [
        ("llama", SEARCH, CF),
        ("llama", "relp:sum:odds:unweighted:product", CF),
        ("gpt_neox", "culnig:sum:logp:unweighted", CF),
        ("mixtral", SEARCH, CF),
        ("phi3", "atp:dataset:odds:unweighted", CF),
        ("llama", SEARCH, slow.MCF),
    ],
)
def test_equals_the_scores_one_by_one(family, method, policy, items, monkeypatch):
    lm = model_of(family)
    modules = list(lm.shapes)
    expected = culnig.score(lm, items, policy=policy, method=method)
    assert pooled.can_pool(parse_method(method))
    monkeypatch.setattr(pooled, "score", None)  # it must do the work itself
    found = pooled.mean_over_items(lm, items, policy=policy, method=method, modules=modules)
    for module in modules:
        want = expected.mean(module)
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(found[module], want, rtol=0, atol=score_tolerance(lm, want))


def test_items_share_tokens(items):
    """Shared beginnings are run once: fewer tokens go through the model than one by one."""
    lm, tokens = model_of("llama"), []
    handle = lm.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: tokens.append((args[0] if args else kwargs["hidden_states"])[..., 0].numel()),
        with_kwargs=True,
    )
    policy = PromptPolicy(formulation="cf")
    try:
        pooled.mean_over_items(lm, items, policy=policy, method=SEARCH, modules=["mlp.gate_proj"])
        together = sum(tokens)
        tokens.clear()
        culnig.score(lm, items, policy=policy, method=SEARCH, modules=["mlp.gate_proj"])
    finally:
        handle.remove()
    assert together < 0.8 * sum(tokens)


@pytest.mark.parametrize(
    "method",
    [
        "culnig",
        "culnig:sum",
        "culnig:sum:odds",
        "culnig:sum:odds:unweighted:clamped",
        "culnig:sum:odds:unweighted:skip_first",
        "atp:control:odds:unweighted",
        "wanda_neuron",
    ],
)
def test_other_methods_are_left_to_score(method, items):
    """Maxima, weights, clamps, a prompt's first token and its control prompt belong to one item."""
    lm = model_of("llama")
    assert not pooled.can_pool(parse_method(method))
    asked = [dataclasses.replace(item, prompt=None) for item in items]
    expected = culnig.score(lm, asked, policy=CF, method=method)
    module = "mlp.gate_proj"
    found = pooled.mean_over_items(lm, asked, policy=CF, method=method, modules=[module])
    np.testing.assert_array_equal(found[module], expected.mean(module))
