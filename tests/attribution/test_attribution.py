"""Scores against a slow reference, and what they must not depend on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import culnig
from culnig.passes.forward import Row, answer_logprobs, batches, collate
from culnig.prompts import PromptPolicy, encode, render
from tests.helpers.slow_reference import slow_scores
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF, MCF = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")


@pytest.mark.parametrize("policy", [CF, MCF], ids=["cf", "mcf"])
def test_equal_to_definition(tiny, word_items, policy):
    expected = slow_scores(tiny, word_items, policy)
    scores = culnig.score(tiny, word_items, policy=policy)
    for site, sums in expected.items():
        got = scores.sums["culnig", site.module][:, site.layer]
        # The slow reference computes every item alone, through as many additions.
        np.testing.assert_allclose(got, sums, atol=score_tolerance(tiny, sums), rtol=0)


@pytest.mark.parametrize("policy", [CF, MCF], ids=["cf", "mcf"])
def test_batch_size_and_order_do_not_matter(tiny, word_items, policy):
    reference = culnig.score(tiny, word_items, policy=policy, token_budget=1)
    shuffled = random.Random(3).sample(word_items, len(word_items))
    for items, budget in ((word_items, 200), (word_items, 100_000), (shuffled, 400)):
        other = culnig.score(tiny, items, policy=policy, token_budget=budget)
        assert other.groups == reference.groups
        for key, sums in reference.sums.items():
            # Other batches add in other orders.
            np.testing.assert_allclose(other.sums[key], sums, atol=score_tolerance(tiny, sums), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("rows_a_batch", [1, 4, 16])
def test_batches_of_fixed_size(tiny, reference_files, rows_a_batch):
    """Batch size 1, 4 and 16: sums agree to float32 rounding, padded or not."""
    items = culnig.read_items(reference_files["blend"])
    policy = PromptPolicy(chat_template="off")
    one = culnig.score(tiny, items, policy=policy, token_budget=1)
    many = culnig.score(tiny, items, policy=policy, token_budget=rows_a_batch * 22)
    for key, sums in one.sums.items():
        # Other batches add in other orders.
        np.testing.assert_allclose(many.sums[key], sums, atol=score_tolerance(tiny, sums), rtol=0)


def test_packed_equals_unpacked(tiny, word_items):
    """An option's log-probability is the same behind the shared prompt as in a sequence of its own."""
    for e in encode(render(word_items, CF), tiny.tokenizer, CF):
        with torch.no_grad():
            packed = answer_logprobs(tiny, collate([Row(0, e.prompt_ids, e.answer_ids)], tiny.device))
            for i, answer in enumerate(e.answer_ids):
                alone = answer_logprobs(tiny, collate([Row(0, e.prompt_ids, (answer,))], tiny.device))
                # Packed answers make longer rows, whose kernels add in another order.
                close = output_tolerance(tiny, alone.answer_logprobs)
                torch.testing.assert_close(packed.answer_logprobs[i], alone.answer_logprobs[0], rtol=0, atol=close)


def test_prompt_tokens_computed_once(tiny, word_items):
    """A packed row holds the prompt once: its length is prompt + options without their last tokens."""
    e = encode(render(word_items[:1], CF), tiny.tokenizer, CF)[0]
    row = Row(0, e.prompt_ids, e.answer_ids)
    batch = collate([row], tiny.device)
    assert batch.input_ids.shape[1] == len(e.prompt_ids) + sum(len(a) - 1 for a in e.answer_ids)


def test_token_budget_is_kept():
    rows = [Row(i, tuple(range(1, 2 + i % 7)), ((1,),)) for i in range(50)]
    made = batches(rows, 20)
    assert sorted(row.key for batch in made for row in batch) == list(range(50))
    assert all(len(batch) * batch[0].length <= 20 for batch in made)


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_processes_get_equally_many_batches_of_about_equal_size(processes, monkeypatch):
    rows = [Row(i, tuple(range(1, 40 + i % 7)), ((1,),)) for i in range(97)]
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    made = batches(rows, 800)
    assert sorted(row.key for batch in made for row in batch) == list(range(97))
    assert len(made) % processes == 0
    assert max(len(batch) * batch[0].length for batch in made) <= 800
    shares = [sum(len(batch) * batch[0].length for batch in made[i::processes]) for i in range(processes)]
    longest = rows[6].length
    assert max(shares) - min(shares) <= longest * len(made) / processes  # a row of each batch cannot be divided


def test_control_clamps_at_zero(tiny):
    # One token a prompt: with more, some position is nearly always above 0, and the maximum with it.
    plain = [culnig.Item(f"{i}", "b", "Iran", prompt=f"w{i}", target="A") for i in range(8)]
    free = culnig.score(tiny, plain, policy=MCF)
    clamped = culnig.score(tiny, plain, policy=MCF, control=True)
    assert min(sums.min() for sums in free.sums.values()) < 0
    assert min(sums.min() for sums in clamped.sums.values()) >= 0


def test_gradients_leave_no_trace(tiny, word_items):
    culnig.score(tiny, word_items[:4], policy=CF)
    assert all(p.grad is None and not p.requires_grad for p in tiny.model.parameters())
    assert not any(module._forward_hooks for module in tiny.model.modules())


def test_save_and_load(tiny, word_items, tmp_path):
    scores = culnig.score(tiny, word_items, policy=CF)
    scores.save(tmp_path / "s.safetensors")
    loaded = culnig.Scores.load(tmp_path / "s.safetensors")
    assert loaded.groups == scores.groups and loaded.modules == scores.modules
    assert loaded.meta["model_hash"] == tiny.fingerprint and loaded.meta["formulation"] == "cf"
    for key, sums in scores.sums.items():
        assert loaded.sums[key].dtype == np.float32
        np.testing.assert_array_equal(loaded.sums[key], sums)
    np.testing.assert_array_equal(loaded.count, scores.count)


def test_scoring_is_deterministic(tiny, word_items):
    a, b = (culnig.score(tiny, word_items, policy=CF) for _ in range(2))
    for key, sums in a.sums.items():
        np.testing.assert_array_equal(b.sums[key], sums)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(tiny, word_items, reference_dir, dtype):
    """Scores in half precision are those in float32 up to its rounding, and are summed in full precision."""
    half = culnig.load_model(reference_dir, dtype=dtype)
    low, full = (culnig.score(lm, word_items, policy=CF) for lm in (half, tiny))
    for key, sums in full.sums.items():
        assert low.sums[key].dtype == np.float32
        assert np.corrcoef(low.sums[key].ravel(), sums.ravel())[0, 1] > 0.99, key


def test_loaded_scores_are_mapped_not_read(tiny, word_items, tmp_path):
    scores = culnig.score(tiny, word_items, policy=CF)
    scores.save(tmp_path / "s.safetensors")
    loaded = culnig.Scores.load(tmp_path / "s.safetensors")
    for key, sums in scores.sums.items():
        assert isinstance(loaded.sums[key], np.memmap)
        np.testing.assert_array_equal(loaded.sums[key], sums)
    neurons = sum(int(np.prod(shape)) for shape in scores.shapes().values())
    size = (tmp_path / "s.safetensors").stat().st_size
    assert size - 8 * len(scores.groups) - 20_000 < 4 * neurons * len(scores.groups) < size


def test_batches_shrink_to_what_memory_holds(tiny, word_items, monkeypatch):
    """A device that holds three rows at a time: same scores and results; the limit is met once, then known."""
    from culnig.passes import trees

    expected = culnig.score(tiny, word_items, policy=CF), culnig.evaluate(tiny, word_items, policy=CF)
    failures = []

    def small(rows, device, pad_id=0):
        if len(rows) > 3:
            failures.append(len(rows))
            raise torch.OutOfMemoryError("full")
        return collate(rows, device, pad_id)

    monkeypatch.setattr(trees, "collate", small)
    scores = culnig.score(tiny, word_items, policy=CF, token_budget=200)
    met = len(failures)
    result = culnig.evaluate(tiny, word_items, policy=CF, token_budget=200)
    for key, sums in expected[0].sums.items():
        # Smaller batches add in other orders.
        np.testing.assert_allclose(scores.sums[key], sums, atol=score_tolerance(tiny, sums), rtol=0)
    # A probability's relative error is its log-probability's error.
    close = output_tolerance(tiny, np.concatenate(expected[1].rows["option_logprobs"]))
    np.testing.assert_allclose(result.rows["p_gold"], expected[1].rows["p_gold"], rtol=close)
    assert 0 < met <= 2 and len(failures) - met <= 2


def test_fast_linear_has_pytorchs_gradients():
    """Frozen and trainable weights, with and without a bias, in every combination of what needs a gradient."""
    from itertools import product

    from culnig.passes.cpu_kernels import fast_linear

    torch.manual_seed(0)
    for x_grad, w_grad, with_bias in product((True, False), repeat=3):
        x, weight = torch.randn(2, 5, 8, requires_grad=x_grad), torch.randn(7, 8, requires_grad=w_grad)
        bias = torch.randn(7, requires_grad=w_grad) if with_bias else None
        leaves = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
        with fast_linear(torch.device("cpu")):
            fast = torch.nn.functional.linear(x, weight, bias)
        plain = torch.nn.functional.linear(x, weight, bias)
        torch.testing.assert_close(fast, plain)
        for a, b in zip(*(torch.autograd.grad((y**2).sum(), leaves) for y in (fast, plain) if leaves), strict=True):
            torch.testing.assert_close(a, b)
