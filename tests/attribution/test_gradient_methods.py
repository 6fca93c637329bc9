"""Scoring methods that need gradients against a slow reference by definition, and the properties that they are known for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron
from culnig.attribution.method import parse_method
from culnig.attribution.relevance import relevance_gradients
from culnig.errors import ModelError, UsageError
from culnig.models import LanguageModel
from culnig.neurons import GATE, UP, VALUE, Site
from culnig.prompts import PromptPolicy
from tests.helpers import slow_methods as slow
from tests.helpers import tiny_models
from tests.helpers.slow_methods import check, model_of
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF = PromptPolicy(formulation="cf")
MCF = slow.MCF


@pytest.fixture(scope="module")
def lm():
    return model_of("llama")


@pytest.fixture(scope="module")
def items(word_items):
    return word_items[:7]


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_neox"])
def test_switches_of_culnig_in_one_pass(family, items):
    lm = model_of(family)
    names = ["culnig", "culnig:sum", "culnig:mean:logp", "culnig:last:diff", "culnig:absmax", "culnig:diff:unweighted"]
    scores = culnig.score(lm, items, policy=MCF, method=names)
    assert scores.methods == names
    for name in names:
        method = parse_method(name)
        expected = slow.gradient_scores(lm, items, method.positions, method.target, method.weight)
        check(scores, name, expected)
    alone = culnig.score(lm, items, policy=MCF)
    for module in alone.modules:
        np.testing.assert_array_equal(scores.sums["culnig", module], alone.sums["culnig", module])


def test_several_answers_a_row(lm, items):
    """In cf the logit difference is that of whole answers; together and alone give the same."""
    names = ["culnig:sum", "culnig:sum:diff", "lape", "atp:control", "relp"]
    together = culnig.score(lm, items, policy=CF, method=names)
    for name in names:
        alone = culnig.score(lm, items, policy=CF, method=name, token_budget=1)
        for key, sums in alone.sums.items():
            # Other batches add in other orders.
            np.testing.assert_allclose(together.sums[key], sums, atol=score_tolerance(lm, sums), rtol=0)


def test_atp_by_definition(lm, items):
    names = ["atp", "atp:dataset", "atp:control:max"]
    scores = culnig.score(lm, items, policy=MCF, method=names)
    check(scores, "atp", slow.gradient_scores(lm, items, "sum"))
    check(scores, "atp:dataset", slow.gradient_scores(lm, items, "sum", reference=slow.dataset_reference(lm, items)))
    name = parse_method("atp:control:max").name
    check(scores, name, slow.gradient_scores(lm, items, "max", reference=slow.control_reference(lm, items)))
    prompt = culnig.Item("1", "b", "Iran", prompt="w1 w2", target="w3")
    with pytest.raises(UsageError, match="ready-made prompt"):
        culnig.score(lm, [prompt], policy=MCF, method="atp:control")


def test_ig_by_definition(lm, items):
    sites = [Site(GATE, 1), Site(VALUE, 0), Site("self_attn.q_proj", 2)]
    scores = culnig.score(lm, items[:3], policy=MCF, method="ig:steps=4,ig:steps=4:max:logp")
    check(scores, "ig:steps=4", slow.integrated_gradients(lm, items[:3], sites, 4))
    expected = slow.integrated_gradients(lm, items[:3], sites, 4, "max", "logp")
    check(scores, "ig:max:logp:steps=4", expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "policy"),
    [
        ("llama", MCF),
        ("mixtral", MCF),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("llama", CF), ("phi3", MCF), ("gpt_neox", CF))),
    ],
)
def test_ig_is_complete(family, policy, items):
    """The scores of a site's neurons add up to what zeroing the whole site takes from P."""
    lm, one = model_of(family), items[1:2]
    assert not one[0].control
    scores = culnig.score(lm, one, policy=policy, method="ig:steps=60:unweighted", modules=[GATE, VALUE])
    # Experts further up are routed to anew at every step, and a gradient does not see a jump: there, the last experts.
    layer = 2 if family == "mixtral" else 1
    for module in (GATE, VALUE) if family != "mixtral" else (GATE,):
        _, width = lm.shapes[module]
        everything = culnig.NeuronSet([Neuron(module, layer, i) for i in range(width)])
        clean = culnig.evaluate(lm, one, policy=policy).rows["p_gold"][0]
        with culnig.suppress(lm, everything):
            without = culnig.evaluate(lm, one, policy=policy).rows["p_gold"][0]
        total = scores.sums[scores.method, module][:, layer].sum()
        assert total == pytest.approx(clean - without, rel=2e-3, abs=1e-7)


class ByHand:
    """A Llama written out, with the rules of relevance in plain sight; returns log-probabilities of the next token."""

    def __init__(self, lm):
        self.lm, self.values = lm, {}

    def keep(self, module, layer, value):
        value.retain_grad()
        self.values[Site(module, layer)] = value
        return value

    def norm(self, module, x):
        return module.weight * x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt().detach()

    def __call__(self, prompt_ids):
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        model = self.lm.model.model
        x = model.embed_tokens(torch.tensor([prompt_ids])).detach().requires_grad_(True)
        length = x.shape[1]
        cos, sin = model.rotary_emb(x, torch.arange(length)[None])
        for i, layer in enumerate(model.layers):
            h, attention = self.norm(layer.input_layernorm, x), layer.self_attn
            q, k, v = (self.keep(f"self_attn.{n}", i, getattr(attention, n)(h)) for n in ("q_proj", "k_proj", "v_proj"))
            q, k, v = (t.view(1, length, -1, attention.head_dim).transpose(1, 2) for t in (q, k, v))
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
            weights = (q @ k.transpose(2, 3) * attention.scaling).masked_fill(
                ~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf
            )
            mixed = (weights.softmax(-1) @ v).transpose(1, 2).reshape(1, length, -1)
            x = x + attention.o_proj(mixed)
            h = self.norm(layer.post_attention_layernorm, x)
            gate = self.keep(GATE, i, layer.mlp.gate_proj(h))
            up = self.keep(UP, i, layer.mlp.up_proj(h))
            act = gate * torch.sigmoid(gate).detach()  # silu(x) / x
            product = (act * up.detach() + act.detach() * up) / 2
            # Each term is half of what it is worth, so the value must be made whole again.
            product = product + (act * up - product).detach()
            x = x + layer.mlp.down_proj(product)
        return self.lm.model.lm_head(self.norm(model.norm, x))[0, -1].log_softmax(-1)


def test_relp_by_definition(lm, items):
    def one(e):
        by_hand = ByHand(lm)
        p = by_hand(e.prompt_ids)[e.answer_ids[e.gold][0]].exp()
        p.backward()
        scores = {site: (v * v.grad)[0].sum(0) for site, v in by_hand.values.items()}
        return {site: s * p.item() for site, s in scores.items()}

    scores = culnig.score(lm, items, policy=MCF, method="culnig,relp")
    check(scores, "relp", slow.by_item(lm, items, one))
    alone = culnig.score(lm, items, policy=MCF)
    np.testing.assert_array_equal(scores.sums["culnig", GATE], alone.sums["culnig", GATE])


def test_relp_on_a_linear_network_is_value_times_gradient(items):
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(3)
    config = GPTNeoXConfig(**{**tiny_models.COMMON, "num_key_value_heads": None, "hidden_act": "linear"})
    model = AutoModelForCausalLM.from_config(config)
    for layer in model.gpt_neox.layers:
        layer.input_layernorm = layer.post_attention_layernorm = torch.nn.Identity()
    model.gpt_neox.final_layer_norm = torch.nn.Identity()
    lm = LanguageModel(model, tiny_models.tokenizer(), name="linear")
    scores = culnig.score(lm, items, policy=MCF, method="relp,culnig:sum")
    for module in scores.modules:
        plain = scores.sums["culnig:sum", module]
        # The rules rewrite products of the backward pass, which round at other places.
        np.testing.assert_allclose(scores.sums["relp", module], plain, atol=score_tolerance(lm, plain), rtol=0)


@pytest.mark.parametrize("family", tiny_models.CONFIGS)
def test_relevance_rules_of_every_family(family, items):
    """The forward pass stays the same to the bit; norms, activations and products pass on what they are worth."""
    lm = model_of(family)
    ids = torch.arange(3, 41).reshape(2, 19)
    plain = lm.model(ids).logits
    norms = [m for m in lm.model.modules() if type(m).__name__.endswith("Norm")]
    with relevance_gradients(lm):
        assert torch.equal(lm.model(ids).logits, plain) or family in tiny_models.EXPERTS
        # Experts run one by one under the rules and add their outputs in another order.
        close = output_tolerance(lm, plain.detach())
        torch.testing.assert_close(lm.model(ids).logits, plain, rtol=0, atol=close)
        for norm in norms[:6]:
            if (width := getattr(norm, "weight", torch.empty(0)).shape) and "Vision" not in type(norm).__name__:
                x = torch.randn(3, 5, *width, requires_grad=True)
                towards = torch.randn(3, 5, *width)
                y = norm(x)
                (y * towards).sum().backward()
                worth = (towards * (y - norm(torch.zeros_like(x)))).sum().item()
                assert (x * x.grad).sum().item() == pytest.approx(worth, rel=1e-3, abs=1e-3)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    scores = culnig.score(lm, items[:2], policy=MCF, method="relp")
    assert all(np.isfinite(s).all() and np.abs(s).max() > 0 for s in scores.sums.values())


def test_a_norm_that_is_none_is_refused(lm, items):
    class OddNorm(torch.nn.Module):
        def forward(self, x):
            return x.sin()

    model = tiny_models.build("llama")
    model.model.norm = OddNorm()
    odd = LanguageModel(model, tiny_models.tokenizer(), name="odd")
    with pytest.raises(ModelError, match="OddNorm is not a norm"):
        culnig.score(odd, items[:2], policy=MCF, method="relp")
