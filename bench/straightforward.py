"""The straightforward way to score neurons, written from the description of the method, to compare with.

Nothing is frozen, so the backward pass also makes the gradients of all weights; logits are made at every position over the
whole vocabulary; every site's activation and gradient are kept until the end of the pass; sums are Python dictionaries,
filled neuron by neuron, and saved as JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from culnig.models import LanguageModel
from culnig.prompts import Encoded


def score(lm: LanguageModel, encoded: Sequence[Encoded], out: Path, batch_size: int) -> None:
    """Score mcf prompts, batch by batch in the order given, and write the sums."""
    lm.model.requires_grad_(True)
    kept: dict[Any, torch.Tensor] = {}
    handles = [found.module.register_forward_hook(_keep(site, found, kept)) for site, found in lm.sites.items()]
    sums: dict[str, dict[str, dict[int, dict[int, float]]]] = {}
    try:
        for start in range(0, len(encoded), batch_size):
            _batch(lm, encoded[start : start + batch_size], kept, sums)
    finally:
        for handle in handles:
            handle.remove()
        lm.model.zero_grad()
        lm.model.requires_grad_(False)
    out.write_text(json.dumps(sums))


def _keep(site: Any, found: Any, kept: dict[Any, torch.Tensor]) -> Any:
    def hook(module: Any, args: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept[site] = output

    return hook


def _batch(lm: LanguageModel, batch: Sequence[Encoded], kept: dict[Any, torch.Tensor], sums: dict[str, Any]) -> None:
    width = max(len(e.prompt_ids) for e in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for row, e in enumerate(batch):
        ids[row, : len(e.prompt_ids)] = torch.tensor(e.prompt_ids)
        mask[row, : len(e.prompt_ids)] = 1
    ids, mask = ids.to(lm.device), mask.to(lm.device)
    last = mask.sum(1) - 1
    answers = torch.tensor([e.answer_ids[e.gold][0] for e in batch], device=lm.device)
    logits = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    rows = torch.arange(len(batch), device=lm.device)
    probability = torch.softmax(logits[rows, last].float(), dim=-1)[rows, answers]
    lm.model.zero_grad()
    probability.sum().backward()
    for site, output in kept.items():
        found = lm.sites[site]
        product = found.take(output.detach() * output.grad)
        best = (product * mask[..., None]).amax(dim=1).float() * probability.detach()[:, None]
        for e, values in zip(batch, best.tolist(), strict=True):
            of_country = sums.setdefault(e.item.country, {}).setdefault(site.module, defaultdict(dict))
            layer = of_country[site.layer]
            for neuron, value in enumerate(values):
                layer[neuron] = layer.get(neuron, 0.0) + value
    kept.clear()
