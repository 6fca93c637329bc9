"""What scoring does with devices, memory and half precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, distributed
from culnig.attribution import relevance
from culnig.attribution.batch import Placed
from culnig.attribution.exact import oracle
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.memory import Fitting
from culnig.prompts import PromptPolicy

CF = PromptPolicy(formulation="cf")


def test_cpu_kernels_stay_off_other_devices():
    with fast_linear(torch.device("cuda")):
        assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.slow
def test_a_second_device_is_respected():
    """A process of its own: PyTorch cannot take a registered device back."""
    cases = Path(__file__).with_name("second_device_cases.py")
    done = subprocess.run([sys.executable, "-m", "pytest", str(cases)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_a_copy_is_made_once_a_device():
    made = []

    class Counted(torch.Tensor):
        def to(self, *args, **kwargs):
            made.append(args)
            return super().to(*args, **kwargs)

    placed = Placed(torch.zeros(3).as_subclass(Counted))
    for _ in range(3):
        assert placed.on(torch.device("cpu")) is placed.tensor
        assert placed.on(torch.device("meta")).is_meta
    assert len(made) == 1


def test_norms_are_probed_once_a_job(tiny, word_items, monkeypatch):
    """Two probes a norm in the whole job, whatever the number of batches."""
    norms = [module for module in tiny.model.modules() if relevance._is_norm(module)]
    calls = []
    probe = relevance._probe
    monkeypatch.setattr(relevance, "_probe", lambda module, *args: calls.append(module) or probe(module, *args))
    culnig.score(tiny, word_items, policy=CF, method="relp", token_budget=60)
    assert len(calls) == len(norms)


def test_sums_on_the_cpu_are_reduced_on_the_process_device(monkeypatch):
    """NCCL takes no tensor on the CPU, where an offloaded layer's sums are."""
    from types import SimpleNamespace

    seen = []

    class Moved:
        """A tensor on the CPU that notes where it goes."""

        def __init__(self):
            self.value = torch.ones(2)

        def to(self, device):
            seen.append(device)
            return self.value.clone()

        def copy_(self, other):
            self.value = other

    gpu = torch.device("cuda:1")
    monkeypatch.setattr(distributed, "_state", lambda: SimpleNamespace(device=gpu))
    monkeypatch.setattr(distributed, "wait", lambda: None)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
    tensor = Moved()
    distributed.sum_over_processes([tensor])
    assert seen == [gpu] and torch.equal(tensor.value, torch.full((2,), 2.0))


def full_above(monkeypatch, module, name, size_of, most):
    """Let a function raise as a full device does where its argument is too large; returns the sizes refused."""
    refused = []
    whole = getattr(module, name)

    def small(*args, **kwargs):
        if size_of(*args) > most:
            refused.append(size_of(*args))
            raise torch.OutOfMemoryError("full")
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, name, small)
    return refused


def test_oracle_recovers_from_a_full_device(tiny, word_items, monkeypatch):
    from culnig.attribution import exact

    neurons = [Neuron("mlp.gate_proj", 1, i) for i in range(4)] + [Neuron("self_attn.q_proj", 0, 3)]
    expected = oracle(tiny, word_items, neurons, policy=CF, token_budget=400)
    refused = full_above(monkeypatch, exact, "make_batch", lambda lm, rows: len(rows), 3)
    found = oracle(tiny, word_items, neurons, policy=CF, token_budget=400)
    assert refused
    np.testing.assert_allclose(found.change, expected.change, rtol=0, atol=1e-5 * np.abs(expected.change).max())


def test_perplexity_recovers_from_a_full_device(tiny, monkeypatch):
    from culnig.evaluation import plain_text

    paragraphs = [" ".join(f"w{i * j % 400}" for i in range(1, 6 + j)) for j in range(1, 9)]
    expected = plain_text.perplexity(tiny, paragraphs)
    refused = full_above(monkeypatch, plain_text, "token_logprobs", lambda lm, rows: len(rows), 3)
    found = plain_text.perplexity(tiny, paragraphs)
    assert refused
    np.testing.assert_allclose(found.rows["logprob"], expected.rows["logprob"], rtol=1e-5)


def test_memory_goes_back_on_any_accelerator(monkeypatch):
    """A device without CUDA runs out of memory as well."""
    given = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: given.append("back"), raising=False)

    def run(members):
        if len(members) > 1:
            raise torch.OutOfMemoryError("full")

    Fitting(run, size=len)([1, 2])
    assert given == ["back"]


def test_processes_that_share_a_model_cannot_halve_a_batch():
    """The others would wait for as many passes as they run themselves."""
    sizes = []

    def run(members):
        sizes.append(len(members))
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        Fitting(run, size=len, halves=False)([1, 2])
    assert sizes == [2]


@pytest.fixture
def small_gradients(reference_dir):
    """Loads the tiny model with a head whose small weights make gradients too small for float16."""

    def load(dtype):
        lm = culnig.load_model(reference_dir, dtype="float32")
        with torch.no_grad():
            lm.model.lm_head.weight.mul_(2.0**-14)
        lm.model.to(getattr(torch, dtype))
        return lm

    return load


@pytest.mark.parametrize("method", ["culnig:sum", "ig:gate:steps=2"])
def test_float16_gradients_do_not_underflow(small_gradients, word_items, method):
    low, full = (
        culnig.score(small_gradients(dtype), word_items[:8], policy=CF, method=method)
        for dtype in ("float16", "float32")
    )
    for key, sums in full.sums.items():
        seen = np.abs(sums) > np.abs(sums).max() * 1e-2
        assert (low.sums[key][seen] != 0).all(), key
        assert np.corrcoef(low.sums[key].ravel(), sums.ravel())[0, 1] > 0.98, key


def test_float16_gradients_that_overflow_are_scaled_less(reference_dir, word_items, monkeypatch):
    from culnig.attribution import batch

    half = culnig.load_model(reference_dir, dtype="float16")
    expected = culnig.score(half, word_items[:8], policy=CF)
    monkeypatch.setattr(batch, "FLOAT16_SCALE", 2.0**24)
    found = culnig.score(half, word_items[:8], policy=CF)
    for key, sums in expected.sums.items():
        assert np.isfinite(found.sums[key]).all()
        assert np.corrcoef(found.sums[key].ravel(), sums.ravel())[0, 1] > 0.999, key
