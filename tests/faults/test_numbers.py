"""NaN and infinity in weights, activations and gradients, memory that runs out, and a rank that dies: one clear line."""

from __future__ import annotations

import copy

import pytest
import torch

import culnig
from culnig.errors import ModelError
from culnig.evaluation import answer, evaluate
from culnig.prompts import PromptPolicy
from tests.helpers.cli import jsonl, use

OFF = PromptPolicy(chat_template="off", formulation="cf")


@pytest.fixture
def broken(tiny, reference_dir):
    """The tiny model, whose weights a test may change."""
    return culnig.load_model(reference_dir)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights(value, broken, word_items):
    with torch.no_grad():
        broken.model.model.layers[1].mlp.up_proj.weight[3, 4] = value
    for work in (culnig.score, evaluate):
        with pytest.raises(
            ModelError, match=r"because the weight model\.layers\.1\.mlp\.up_proj\.weight of reference is"
        ):
            work(broken, word_items, policy=OFF)


def test_activations(broken, word_items):
    """Weights that are numbers, and values that are too large for the dtype."""
    with torch.no_grad():
        broken.model.model.layers[1].mlp.up_proj.weight.fill_(1e30)
        broken.model.model.layers[1].mlp.gate_proj.weight.fill_(1e30)
    for work in (culnig.score, evaluate):
        with pytest.raises(ModelError, match="though the weights of reference are numbers; use --dtype"):
            work(broken, word_items, policy=OFF)


def test_written_answers(broken):
    item = culnig.Item(
        id="1",
        benchmark="b",
        country="Iran",
        question="w1 w2",
        language="en",
        answers=(culnig.data.items.Answer(("w3",)),),
    )
    with torch.no_grad():
        broken.model.lm_head.weight[5, 5] = float("nan")
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        answer(broken, [item], policy=PromptPolicy(formulation="short", chat_template="off"), max_new_tokens=3)


def test_gradients(broken, word_items, monkeypatch):
    """A gradient that is no number, though the forward pass is: nothing of the batch is added up."""

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("nan")

    broken.model.model.norm.register_forward_hook(lambda module, inputs, output: Bad.apply(output))
    with pytest.raises(ModelError, match="the scores of a batch with item"):
        culnig.score(broken, word_items, policy=OFF)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory")]
)  # fmt: skip
@pytest.mark.parametrize("place", ["culnig.passes.forward.answer_logprobs", "culnig.models.loading._from_place"])
def test_out_of_memory(error, place, reference_dir, tmp_path, capsys, monkeypatch):
    """At any step: one line and exit code 1, and no output."""

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(place, fail)
    if place.endswith("answer_logprobs"):
        monkeypatch.setattr("culnig.passes.answers.answer_logprobs", fail)
    row = {"id": "1", "benchmark": "b", "country": "Iran", "question": "w1", "options": ["w2", "w3"], "answer": 0}
    items = jsonl(tmp_path / "i.jsonl", row)
    args = ("eval", "--model", reference_dir, "--items", items, "--formulation", "cf", "--out", tmp_path / "e.parquet")
    code, _, said = use(capsys, monkeypatch, *args)
    lines = [line for line in said.splitlines() if line.startswith("culnig:")]
    assert code == 1 and len(lines) == 1 and "emory" in lines[0] and "Traceback" not in said
    assert not (tmp_path / "e.parquet").exists()


def test_gradients_of_a_copy_are_untouched(tiny):
    """The hook of `test_gradients` is on its own model."""
    assert not copy.copy(tiny.model.model.norm._forward_hooks)
