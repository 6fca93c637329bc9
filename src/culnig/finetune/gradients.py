"""How strongly training would pull at each neuron's row: the norm of the row's gradient, before any update."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import torch

from culnig.data import Item
from culnig.errors import UsageError
from culnig.finetune.examples import answer_positions, collate, examples
from culnig.finetune.movement import rows_of
from culnig.models import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import logits_only_at
from culnig.prompts import PromptPolicy


def row_gradients(
    lm: LanguageModel,
    items: Iterable[Item],
    policy: PromptPolicy,
    *,
    batch: int = 16,
    batches: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return module -> the norm of every neuron's row gradient [L, N], a mean over batches; nan where a layer has no neuron.

    The loss is that of training: the mean cross-entropy of the answers' tokens.  A neuron's entry of the bias is one of
    its row's numbers.  The model is as before afterwards.

    Args:
        lm: the model that training would start from.
        items: what it would be trained on.
        policy: how items are put to it.
        batch: prompts of a batch, which is one update.
        batches: batches at most, of examples drawn by the seed.
        seed: seed of the draw.
        progress: called with 1 after each batch.

    Raises:
        UsageError: no items, or weights that have no gradients (quantised).
    """
    rows = examples(lm, items, policy)
    random.Random(seed).shuffle(rows)
    groups = [rows[start : start + batch] for start in range(0, len(rows), batch)][:batches]
    weights = _weights(lm)
    wanted = [parameter.requires_grad for parameter in lm.model.parameters()]
    lm.model.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    sums = {module: np.full(shape, np.nan) for module, shape in lm.shapes.items()}
    for site, found in lm.sites.items():
        sums[site.module][site.layer, : found.width] = 0.0
    try:
        for group in groups:
            _backward(lm, group)
            for site, found in lm.sites.items():
                norms = rows_of(found, _gradient).norm(dim=1).cpu().numpy()
                sums[site.module][site.layer, : found.width] += norms / len(groups)
            lm.model.zero_grad(set_to_none=True)
            if progress:
                progress(1)
    finally:
        lm.model.zero_grad(set_to_none=True)
        for parameter, before in zip(lm.model.parameters(), wanted, strict=True):
            parameter.requires_grad_(before)
    return sums


def _weights(lm: LanguageModel) -> list[torch.nn.Parameter]:
    """Return the parameters that hold the rows of all sites.

    Raises:
        UsageError: one of them is no floating-point number.
    """
    found: dict[int, torch.nn.Parameter] = {}
    for site, place in lm.sites.items():
        tensors = [getattr(place.module, place.stacked or "weight", None)]
        tensors.append(place.expert_bias if place.stacked else getattr(place.module, "bias", None))
        for tensor in tensors:
            if isinstance(tensor, torch.nn.Parameter):
                if not tensor.is_floating_point():
                    raise UsageError(f"{site.module} in layer {site.layer} is quantised; it has no gradients")
                found[id(tensor)] = tensor
    return list(found.values())


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor's gradient; zeros where the loss does not depend on it (an expert that no token went to)."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _backward(lm: LanguageModel, rows: list[dict[str, list[int]]]) -> None:
    made = collate(rows, lm.tokenizer.pad_token_id or 0)
    at, columns, tokens = answer_positions(made["labels"])
    head = lm.model.get_output_embeddings()
    with torch.enable_grad(), logits_only_at(head, at, columns), fast_linear(lm.device):
        logits = lm.model(input_ids=made["input_ids"].to(lm.device), use_cache=False).logits.float()
        torch.nn.functional.cross_entropy(logits, tokens.to(logits.device)).backward()
