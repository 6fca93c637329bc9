"""Row gradients: against autograd by hand, for plain, fused, transposed and stacked projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig import LanguageModel
from culnig.finetune.examples import examples
from culnig.finetune.gradients import row_gradients
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models

POLICY = PromptPolicy(formulation="cf")


def by_hand(lm, rows, module, layer, pick):
    """Norms of one module's rows, by the model's own loss of each example, unpadded."""
    weight = module.weight
    weight.requires_grad_(True)
    total = torch.zeros(())
    count = sum(label != -100 for row in rows for label in row["labels"])
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        logits = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        for place, label in enumerate(labels[1:].tolist()):
            total = total - (logits[place, label] if label != -100 else 0.0)
    gradient = torch.autograd.grad(total / count, [weight, *([module.bias] if module.bias is not None else [])])
    weight.requires_grad_(False)
    whole = gradient[0] if module.weight.shape[0] == (getattr(module, "out_features", None) or 0) else gradient[0].t()
    norms = whole.pow(2).sum(1)
    if module.bias is not None:
        norms = norms + gradient[1] ** 2
    return pick(norms.sqrt())


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_norms_are_those_of_autograd(family, word_items):
    model = tiny_models.build(family)
    lm = LanguageModel(model, tiny_models.tokenizer(), name="tiny")
    items = word_items[:4]
    rows = examples(lm, items, POLICY)
    found = row_gradients(lm, items, POLICY, batch=len(rows), batches=1)
    for (name, layer), (module, pick) in tiny_models.by_hand(family, lm.model).items():
        if module.bias is not None:
            module.bias.requires_grad_(True)
        expected = by_hand(lm, rows, module, layer, pick)
        np.testing.assert_allclose(found[name][layer], expected.detach().numpy(), rtol=2e-3, atol=1e-7)
    assert not any(p.grad is not None for p in lm.model.parameters())


def test_batches_are_averaged_and_the_model_stays_as_it_was(word_items):
    model = tiny_models.build("mixtral")
    lm = LanguageModel(model, tiny_models.tokenizer(), name="tiny")
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    steps = []
    two = row_gradients(lm, word_items[:8], POLICY, batch=4, batches=2, seed=3, progress=steps.append)
    assert two["mlp.gate_proj"].shape == lm.shapes["mlp.gate_proj"] and (two["self_attn.q_proj"] > 0).any()
    one = row_gradients(lm, word_items[:8], POLICY, batch=4, batches=1, seed=3)
    assert steps == [1, 1] and not np.allclose(one["mlp.gate_proj"], two["mlp.gate_proj"])
    assert all(torch.equal(p, before[name]) and not p.requires_grad for name, p in lm.model.named_parameters())
