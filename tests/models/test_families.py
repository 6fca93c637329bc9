"""Every family: scores by definition, suppression by hand, round trip, batches and packing, on tiny random models."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.models import LanguageModel
from culnig.neurons import Site
from culnig.passes.forward import Row, answer_logprobs, collate, embeddings_given
from culnig.passes.trees import collate_trees, trees_of
from culnig.prompts import PromptPolicy, encode, render
from tests.helpers import tiny_models
from tests.helpers.slow_reference import slow_scores
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF, MCF = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")
IDS = torch.arange(3, 60).reshape(3, 19)


@pytest.fixture(scope="module", params=tiny_models.CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def lm(family):
    return LanguageModel(tiny_models.build(family), tiny_models.tokenizer(), name=family)


@pytest.fixture(scope="module")
def items(word_items):
    """Few, since the reference takes a pass an option; one is a control, and answers have one to three words."""
    return word_items[:6]


def logits(lm):
    with torch.no_grad():
        return lm.model(IDS).logits


def captured_by_hand(family):
    """Capture for `slow_scores` that knows nothing of our maps of sites."""

    @contextmanager
    def capture(lm):
        captured = {site: [] for site in lm.sites}
        pick = dict.fromkeys(lm.sites, tiny_models.plain)
        handles, patched = [], []

        def keep(site, value):
            captured[site].append(value)
            value.retain_grad()

        for place, (module, function) in tiny_models.by_hand(family, lm.model).items():
            site = Site(*place)
            pick[site] = function
            handles.append(module.register_forward_hook(lambda m, a, out, site=site: keep(site, out)))
        if family in tiny_models.EXPERTS:
            for index, layer in enumerate(lm.model.model.layers):

                def values(gate, up, index=index):
                    gate, up = gate[None], up[None]  # one sequence: [1, T, N]
                    keep(Site("mlp.gate_proj", index), gate)
                    keep(Site("mlp.up_proj", index), up)
                    return gate[0], up[0]

                layer.mlp.experts.forward = tiny_models.dense_experts(layer.mlp.experts, values)
                patched.append(layer.mlp.experts)
        try:
            yield captured, pick
        finally:
            for handle in handles:
                handle.remove()
            for module in patched:
                del module.forward

    return capture


@pytest.mark.parametrize("policy", [CF, MCF], ids=["cf", "mcf"])
def test_scores_equal_definition(lm, family, items, policy):
    expected = slow_scores(lm, items, policy, captured_by_hand(family))
    scores = culnig.score(lm, items, policy=policy)
    assert set(expected) == set(lm.sites)
    for site, sums in expected.items():
        got = scores.sums["culnig", site.module][:, site.layer]
        assert np.abs(sums).max() > 0
        np.testing.assert_allclose(got, sums, atol=1e-4 * np.abs(sums).max(), rtol=0, err_msg=str(site))


def test_suppression_equals_zeroing_by_hand(lm, family):
    before = logits(lm)
    for name, (_, width) in lm.shapes.items():
        site, neuron = Site(name, 1), (2 * width) // 3
        if family in tiny_models.EXPERTS and name.startswith("mlp."):
            chosen = range(1, width, 3)  # some of every expert: one neuron's expert may see no token of the batch
            expected = zeroed_expert(lm, site, chosen)
        else:
            chosen, expected = [neuron], zeroed(lm, family, site, neuron)
        neurons = NeuronSet([Neuron(name, 1, i) for i in chosen])
        for how in ("weights", "hooks"):
            with culnig.suppress(lm, neurons, how=how):
                # Zeroed weights and zeroed outputs leave the same terms, added in another order.
                torch.testing.assert_close(logits(lm), expected, rtol=0, atol=output_tolerance(lm, expected))
        assert not torch.allclose(before, expected, atol=1e-4), name
        assert torch.equal(logits(lm), before)


def zeroed(lm, family, site, neuron):
    module, pick = tiny_models.by_hand(family, lm.model)[site]

    def zero(_module, _args, output):
        output = output.clone()
        output[..., pick(torch.arange(output.shape[-1]))[neuron]] = 0
        return output

    handle = module.register_forward_hook(zero)
    try:
        return logits(lm)
    finally:
        handle.remove()


def zeroed_expert(lm, site, neurons):
    experts = lm.model.model.layers[site.layer].mlp.experts

    def values(gate, up):
        mask = torch.ones(gate.shape[-1]).index_fill(0, torch.tensor(list(neurons)), 0)
        return (gate * mask, up) if site.module == "mlp.gate_proj" else (gate, up * mask)

    experts.forward = tiny_models.dense_experts(experts, values)
    try:
        return logits(lm)
    finally:
        del experts.forward


def test_scaling_by_hooks_equals_weights(lm):
    rng = np.random.default_rng(0)
    neurons = NeuronSet(
        [
            Neuron(name, layer, int(i))
            for name, (layers, width) in lm.shapes.items()
            for layer in range(layers)
            for i in rng.choice(width, 4, replace=False)
        ]
    )
    before = logits(lm)
    results = []
    for how in ("weights", "hooks"):
        with culnig.scale(lm, neurons, -1.5, how=how):
            results.append(logits(lm))
    # Scaled weights and scaled outputs round at different places.
    torch.testing.assert_close(*results, rtol=0, atol=output_tolerance(lm, results[0]))
    assert not torch.allclose(results[0], before, atol=1e-3)
    assert torch.equal(logits(lm), before)


def test_round_trip(lm, items, tmp_path):
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    loaded = culnig.load_model(tmp_path)
    loaded.tokenizer = (
        lm.tokenizer
    )  # transformers takes a word-level tokenizer next to a Qwen2 config for a Qwen2Tokenizer
    assert loaded.fingerprint == lm.fingerprint
    a, b = (culnig.score(m, items, policy=CF) for m in (lm, loaded))
    for key, sums in a.sums.items():
        # The same weights may lie otherwise in memory, and kernels then add in another order.
        np.testing.assert_allclose(b.sums[key], sums, atol=score_tolerance(lm, sums), rtol=0)


@pytest.mark.parametrize("policy", [CF, MCF], ids=["cf", "mcf"])
def test_batch_size_does_not_matter(lm, items, policy):
    one = culnig.score(lm, items, policy=policy, token_budget=1)
    many = culnig.score(lm, items, policy=policy, token_budget=100_000)
    for key, sums in one.sums.items():
        # Other batches add in other orders.
        np.testing.assert_allclose(many.sums[key], sums, atol=score_tolerance(lm, sums), rtol=0)


def test_packed_equals_unpacked(lm, family, items):
    """Also with prompts longer than the window of the families that have one."""
    for e in encode(render(items, CF), lm.tokenizer, CF):
        assert len(e.prompt_ids) > tiny_models.WINDOW
        packed = answer_logprobs(lm, collate([Row(0, e.prompt_ids, e.answer_ids)], lm.device)).answer_logprobs
        for i, answer in enumerate(e.answer_ids):
            alone = lm.model(torch.tensor([e.prompt_ids + answer])).logits[0].log_softmax(-1)
            start = len(e.prompt_ids) - 1
            expected = sum(alone[start + k, token] for k, token in enumerate(answer))
            # Packed answers make longer rows; the sum over an answer's tokens adds their errors.
            close = len(answer) * output_tolerance(lm, expected)
            assert packed[i].item() == pytest.approx(expected.item(), abs=close)


def test_trees_equal_prompts_alone(lm, items):
    """Prompts that begin alike, one that is the beginning of another, and answers that begin alike."""
    encoded = encode(render(items, CF), lm.tokenizer, CF)
    rows = [Row(key, e.prompt_ids, e.answer_ids) for key, e in enumerate(encoded)]
    first = rows[0]
    rows += [
        Row(len(rows), first.prompt[:-3], first.answers),
        Row(len(rows) + 1, (*first.prompt[:-1], 5), (*first.answers, (*first.answers[0], 7, 8))),
    ]
    trees = trees_of(rows, 60)
    assert len(trees) > 1
    assert sum(tree.length for tree in trees) < sum(row.length for row in rows) - len(first.prompt)
    batch = collate_trees(trees, lm.device)
    assert sorted(row.key for row in batch.rows) == [row.key for row in rows]
    together = answer_logprobs(lm, batch)
    for number, row in enumerate(batch.rows):
        alone = answer_logprobs(lm, collate([row], lm.device))
        got = together.answer_logprobs[batch.first_answer[number] : batch.first_answer[number + 1]]
        close = max(map(len, row.answers)) * output_tolerance(lm, alone.answer_logprobs.detach())
        torch.testing.assert_close(got, alone.answer_logprobs, rtol=0, atol=close)
        assert together.top_ids[number] == alone.top_ids[0]


def test_windows_matter(lm, family):
    """The tiny models' windows are real: a token beyond them changes nothing that a sliding layer alone computes."""
    if family not in tiny_models.SLIDING:
        pytest.skip("no window")
    config = lm.text_config
    with_window, kept = logits(lm), config.sliding_window
    assert config.sliding_window == tiny_models.WINDOW < IDS.shape[1]
    try:
        config.sliding_window = 1000
        assert not torch.allclose(logits(lm), with_window, atol=1e-4)
    finally:
        config.sliding_window = kept


def test_embeddings_given_equal_ids_given(lm):
    """Scoring starts from embeddings; what a family does to them (Gemma's and Granite's scaling) must happen once."""
    embedded = lm.model.get_input_embeddings()(IDS)
    with torch.no_grad():
        expected = logits(lm)
        close = output_tolerance(lm, expected)
        with embeddings_given(lm, embedded):
            torch.testing.assert_close(logits(lm), expected, rtol=0, atol=close)
        with embeddings_given(lm, embedded.flip(-1)):
            assert not torch.allclose(logits(lm), expected, atol=1e-3)
