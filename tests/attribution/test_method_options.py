"""Options of gradient methods: signed or clamped controls, the product behind the gate, the prompt's first token."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron
from culnig.attribution.method import parse_method, parse_methods, scoring_version
from culnig.errors import ModelError, UsageError
from culnig.neurons import GATE, UP, Site
from culnig.prompts import PromptPolicy
from tests.helpers import slow_methods as slow
from tests.helpers import tiny_models
from tests.helpers.slow_methods import check, model_of
from tests.helpers.slow_reference import slow_scores
from tests.helpers.tolerances import score_tolerance

CF = PromptPolicy(formulation="cf")
MCF = slow.MCF
DOWN = {"gpt2": "mlp.c_proj", "gpt_neox": "mlp.dense_4h_to_h"}


@pytest.fixture(scope="module")
def lm():
    return model_of("llama")


@pytest.fixture(scope="module")
def items(word_items):
    return word_items[:7]


def test_each_method_says_whether_controls_are_clamped(lm, items):
    names = [
        "culnig",
        "culnig:absmax",
        "culnig:signed",
        "culnig:sum",
        "culnig:mean",
        "culnig:last",
        "culnig:sum:clamped",
    ]
    scores = culnig.score(lm, items, policy=MCF, method=names)
    assert scores.clamped == scores.meta["clamped"] == ["culnig", "culnig:absmax", "culnig:sum:clamped"]
    for name in names:
        method = parse_method(name)
        check(scores, name, slow.gradient_scores(lm, items, method.positions, clamped=method.clamps))
    assert {item.control for item in items} == {True, False}
    assert (scores.sums["culnig:sum", GATE] != scores.sums["culnig:sum:clamped", GATE]).any()


def test_names_leave_out_what_goes_without_saying():
    for text, name in (
        ("culnig:clamped", "culnig"),
        ("culnig:absmax:clamped", "culnig:absmax"),
        ("culnig:sum:signed", "culnig:sum"),
        ("oracle:signed", "oracle"),
        ("culnig:signed", "culnig:signed"),
        ("relp:clamped", "relp:clamped"),
        ("ig:product:max:signed:steps=2", "ig:max:signed:steps=2:product"),
        ("culnig:skip_first:product:sum", "culnig:sum:skip_first:product"),
    ):
        assert parse_method(text).name == name
    with pytest.raises(UsageError, match="named twice"):
        parse_methods("culnig:sum,culnig:sum:signed")


def test_files_of_the_clamped_kind_say_so(lm, items):
    """Version 1 clamped the controls of every method; the default's sums are the same in both versions."""
    assert scoring_version(parse_methods("culnig,culnig:sum:clamped,lape")) == 1
    assert scoring_version(parse_methods("culnig,culnig:sum")) == 2
    shards = [culnig.score(lm, items, policy=MCF, method="culnig,culnig:sum,lape", shard=(i, 2)) for i in (1, 2)]
    assert culnig.merge_scores(shards).clamped == ["culnig"]
    del shards[0].meta["clamped"]
    assert shards[0].clamped == ["culnig", "culnig:sum"]
    with pytest.raises(
        UsageError, match=r"shard 2/2 is of another version: controls are clamped by culnig, in the first"
    ):
        culnig.merge_scores(shards)
    alone = [shard.of_method("culnig") for shard in shards]
    assert culnig.merge_scores(alone).clamped == ["culnig"]


class Products:
    """h of every layer, [T, N] with its gradient, by hand: the input of the down projection, or of all experts'."""

    def __init__(self, family, lm, edit=None):
        self.family, self.lm, self.edit, self.seen = family, lm, edit or (lambda layer, h: h), {}

    def keep(self, layer, h):
        h = self.edit(layer, h)
        h.retain_grad()
        self.seen[layer] = h
        return h

    @contextmanager
    def __call__(self):
        undo = []
        for index, layer in enumerate(
            tiny_models.LAYERS.get(self.family, lambda model: model.model.layers)(self.lm.model)
        ):
            if self.family in tiny_models.EXPERTS:
                layer.mlp.experts.forward = self.experts(layer.mlp.experts, index)
                undo.append(lambda experts=layer.mlp.experts: experts.__dict__.pop("forward"))
            else:
                down = layer.get_submodule(DOWN.get(self.family, "mlp.down_proj"))
                hook = down.register_forward_pre_hook(
                    lambda m, args, index=index: (self.keep(index, args[0]), *args[1:])
                )
                undo.append(hook.remove)
        try:
            yield
        finally:
            for each in undo:
                each()

    def experts(self, experts, index):
        def forward(hidden, top_k_index, top_k_weights):
            size, count = len(hidden), experts.num_experts
            gate, up = torch.einsum("sh,erh->ser", hidden, experts.gate_up_proj).chunk(2, dim=-1)
            h = self.keep(index, (experts.act_fn(gate) * up).flatten(1)).view(size, count, -1)
            routed = torch.zeros(size, count, dtype=h.dtype).scatter(1, top_k_index, top_k_weights.to(h.dtype))
            return torch.einsum("sei,ehi,se->sh", h, experts.down_proj, routed)

        return forward


def probability(lm, e, products):
    with products():
        embedded = lm.model.get_input_embeddings()(torch.tensor([e.prompt_ids])).detach().requires_grad_(True)
        logits = lm.model(inputs_embeds=embedded).logits[0, -1].log_softmax(-1)
    return logits[e.answer_ids[e.gold][0]].exp()


def product_scores(lm, family, items, reduce=lambda s: s.sum(0)):
    def one(e):
        products = Products(family, lm)
        p = probability(lm, e, products)
        p.backward()
        scores = {layer: reduce((h * h.grad).flatten(0, -2)).detach() for layer, h in products.seen.items()}
        return {Site(GATE, layer): s * p.item() for layer, s in scores.items()}

    return slow.by_item(lm, items, one)


@pytest.mark.parametrize("family", tiny_models.CONFIGS)
def test_gate_neurons_at_the_product(family, items):
    """h * dP/dh by hand; the up neuron has the same number, and attention is as it was."""
    lm, few = model_of(family), [item for item in items if not item.control][:2]
    names = ["culnig:sum:product", "culnig:product", "atp:product", "culnig:sum"]
    scores = culnig.score(lm, few, policy=MCF, method=names)
    expected = product_scores(lm, family, few)
    check(scores, "culnig:sum:product", expected)
    check(scores, "atp:product", expected)
    check(scores, "culnig:product", product_scores(lm, family, few, lambda s: s.amax(0)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    product, site = ({m: scores.sums[n, m] for m in scores.modules} for n in ("culnig:sum:product", "culnig:sum"))
    assert not np.allclose(product[GATE], site[GATE], atol=1e-2 * np.abs(site[GATE]).max())
    for module in scores.modules:
        if module != GATE:  # up * dP/dup = h * dP/dh
            np.testing.assert_array_equal(product[module], site[module])
    if UP in product:
        np.testing.assert_array_equal(product[GATE], product[UP])


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_the_product_score_is_the_first_order_term(family, items):
    """Scaling h_k by 1 - e takes e * score from P."""
    one = next(item for item in items if not item.control)
    lm, step = model_of(family), 1e-3
    scores = culnig.score(lm, [one], policy=MCF, method="culnig:sum:product:unweighted").total(GATE)[1]
    exact = model_of(family)
    exact.model.double()
    (e,) = slow.encoded_of(exact, [one])
    for k in np.argsort(-np.abs(scores))[:4]:

        def change(sign, k=k):
            def edit(layer, h):
                return h * (1 - sign * step * (torch.arange(h.shape[-1]) == k)) if layer == 1 else h

            return probability(exact, e, Products(family, exact, edit)).item()

        assert (change(-1) - change(1)) / (2 * step) == pytest.approx(scores[k], rel=5e-3)


def test_zeroing_a_gate_neuron_zeroes_its_product(lm, items):
    """So the product's score is nearer to exact suppression, in the mean over all gate neurons."""
    few = [item for item in items if not item.control]
    scores = culnig.score(lm, few, policy=MCF, method="culnig:sum,culnig:sum:product", modules=[GATE])
    chosen = [Neuron(GATE, layer, i) for layer in range(3) for i in range(48)]
    exact = culnig.oracle(lm, few, chosen, policy=MCF).mean()
    error = {name: np.abs(scores.mean(GATE, name).ravel() - exact).mean() for name in scores.methods}
    assert error["culnig:sum:product"] < 0.8 * error["culnig:sum"]


@pytest.mark.parametrize("family", ["llama", "phi3", "mixtral", "gpt2"])
def test_relevance_at_the_product_is_whole(family, items):
    """The rules give gate and up half of the product's relevance each, and the product has both halves."""
    lm = model_of(family)
    scores = culnig.score(lm, items[:3], policy=MCF, method="relp,relp:product")
    product = scores.sums["relp:product", GATE]
    halves = sum(scores.sums["relp", module] for module in (GATE, UP) if module in scores.modules)
    np.testing.assert_allclose(product, halves, atol=score_tolerance(lm, product), rtol=0)


def test_product_among_others(lm, items):
    """One module, other methods beside it, values in the same pass: the same to the bit; and what cannot be asked."""
    alone = culnig.score(lm, items, policy=MCF, method="culnig:sum:product", modules=[GATE])
    assert alone.modules == [GATE]
    both = culnig.score(
        lm, items, policy=MCF, method="lape,mean_contrast,culnig,culnig:sum:product:logp,culnig:sum:product"
    )
    np.testing.assert_array_equal(alone.sums["culnig:sum:product", GATE], both.sums["culnig:sum:product", GATE])
    plain = culnig.score(lm, items, policy=MCF)
    np.testing.assert_array_equal(plain.sums["culnig", GATE], both.sums["culnig", GATE])
    with pytest.raises(UsageError, match="a reference replaces the gate's value"):
        culnig.score(lm, items, policy=MCF, method="atp:dataset:product")
    with pytest.raises(ModelError, match="needs an up projection, which gpt2 does not have; use culnig:sum:product"):
        culnig.score(model_of("gpt2"), items, policy=MCF, method="ig:product")


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_ig_along_the_product_is_complete(family, items):
    """Scaling all up neurons of a layer scales its products; the scores add up to what zeroing the layer's gate takes."""
    lm, one, layer = model_of(family), items[1:2], 2
    method = "ig:steps=60:product:unweighted"
    scores = culnig.score(lm, one, policy=MCF, method=method, modules=[GATE, UP])
    name = scores.method
    np.testing.assert_array_equal(scores.sums[name, GATE], scores.sums[name, UP])
    everything = culnig.NeuronSet([Neuron(GATE, layer, i) for i in range(lm.shapes[GATE][1])])
    clean = culnig.evaluate(lm, one, policy=MCF).rows["p_gold"][0]
    with culnig.suppress(lm, everything):
        without = culnig.evaluate(lm, one, policy=MCF).rows["p_gold"][0]
    assert scores.sums[name, GATE][:, layer].sum() == pytest.approx(clean - without, rel=2e-3, abs=1e-7)


@pytest.mark.parametrize("budget", [None, 1])
def test_the_first_token_can_be_left_out(lm, items, budget):
    """Batches with padding, and rows alone: the prompt's first token is in the first column of both."""
    for positions in ("max", "sum", "mean", "last", "absmax"):
        name = parse_method(f"culnig:{positions}:skip_first").name
        scores = culnig.score(lm, items, policy=MCF, method=name, token_budget=budget)
        check(scores, name, slow.gradient_scores(lm, items, positions, skip=1))
    both = culnig.score(lm, items, policy=MCF, method="culnig:last,culnig:last:skip_first", token_budget=budget)
    for module in both.modules:
        np.testing.assert_array_equal(both.sums["culnig:last", module], both.sums["culnig:last:skip_first", module])


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_the_first_token_before_several_answers(family, items):
    """In cf all answers share the prompt's positions; only the prompt's first one is left out."""
    lm = model_of(family)
    scores = culnig.score(lm, items[:4], policy=CF, method="culnig,culnig:skip_first")
    check(scores, "culnig:skip_first", slow_scores(lm, items[:4], CF, skip=1))
    assert (scores.sums["culnig", GATE] >= scores.sums["culnig:skip_first", GATE] - 1e-9).all()


def test_ig_without_the_first_token(lm, items):
    few = [item for item in items if not item.control][:2]
    scores = culnig.score(lm, few, policy=MCF, method="ig:gate:steps=3,ig:gate:steps=3:skip_first")
    first = [Site(GATE, 1)]
    whole = slow.integrated_gradients(lm, few, first, 3)
    rest = slow.integrated_gradients(lm, few, first, 3, skip=1)
    check(scores, "ig:gate:steps=3", whole)
    check(scores, parse_method("ig:gate:steps=3:skip_first").name, rest)


def test_a_prompt_of_one_token_has_no_other(lm):
    single = culnig.Item("1", "words", "Iran", prompt="w1", target=" w2")
    assert len(slow.encoded_of(lm, [single])[0].prompt_ids) == 1
    with pytest.raises(UsageError, match="leaves out the first token, and the prompt of item 1 of words has no other"):
        culnig.score(lm, [single], policy=MCF, method="culnig,culnig:skip_first")
