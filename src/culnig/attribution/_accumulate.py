"""Running batches and summing their scores by group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from culnig.attribution._method import Method
from culnig.models import LanguageModel
from culnig.models._batch import Batch, Row, answer_logprobs, collate
from culnig.neurons import Site
from culnig.prompts import Encoded


class Accumulator:
    """Runs batches and sums each site's per-item scores by group, in float64 on the device."""

    def __init__(
        self, lm: LanguageModel, encoded: Sequence[Encoded], method: Method, over_vocabulary: bool, clamped: np.ndarray
    ) -> None:
        self.lm = lm
        self.method = method
        self.over_vocabulary = over_vocabulary
        self.gold = [e.gold for e in encoded]
        self.groups = sorted({e.item.country for e in encoded})
        index = {group: i for i, group in enumerate(self.groups)}
        self.group_of = np.array([index[e.item.country] for e in encoded])
        self.clamped = torch.from_numpy(clamped)
        # MPS has no float64; there the sums are float32.
        kind = torch.float32 if lm.device.type == "mps" else torch.float64
        self.sums = {
            site: torch.zeros(len(self.groups), found.width, dtype=kind, device=found.device)
            for site, found in lm.sites.items()
        }
        self._staged: list[tuple[Site, int, torch.Tensor]] = []
        self._batch: Batch
        self._probability: torch.Tensor
        self._group: torch.Tensor
        self._clamp: torch.Tensor

    def run(self, rows: Sequence[Row]) -> None:
        """One forward and one backward pass; the hooks call `add` on the way back.

        Where the device runs out of memory the batch is halved, down to a single row.
        """
        self._staged.clear()
        try:
            self._pass(rows)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
            torch.cuda.empty_cache()
            self.run(rows[: len(rows) // 2])
            self.run(rows[len(rows) // 2 :])
            return
        # Only now: a pass that fails half-way must leave no trace in the sums.
        for site, first, weighted in self._staged:
            neurons = self.sums[site][:, first : first + weighted.shape[1]]
            neurons.index_add_(0, self._group.to(weighted.device), weighted)
        self._staged.clear()

    def _pass(self, rows: Sequence[Row]) -> None:
        keys = [row.key for row in rows]
        self._batch = batch = collate(rows, self.lm.device, self.lm.tokenizer.pad_token_id or 0)
        embedded = self.lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
        with torch.enable_grad():
            logprobs = answer_logprobs(self.lm, batch, embedded).answer_logprobs
            gold = gold_logprob(logprobs, batch, [self.gold[key] for key in keys], self.over_vocabulary)
            self._probability = gold.detach().exp()
            self._group = torch.from_numpy(self.group_of[keys])
            self._clamp = self.clamped[keys]
            gold.sum().backward()

    def add(self, site: Site, value: torch.Tensor, gradient: torch.Tensor, first: int = 0) -> None:
        """Reduce value and gradient ([B, T, N]) of a site's neurons from `first` on to what their sums will get ([B, N])."""
        device = value.device
        probability = self._probability.to(device)
        real = self._batch.real.to(device) if self._batch.real is not None else None
        item_scores = self.method(value, gradient, real, probability)
        if self._clamp.any():
            floor = torch.where(self._clamp, 0.0, -torch.inf).to(device)
            item_scores = torch.maximum(item_scores, floor[:, None].to(item_scores.dtype))
        self._staged.append((site, first, (item_scores * probability[:, None]).to(self.sums[site].dtype)))

    def result(self) -> dict[str, np.ndarray]:
        """Module -> float32 [G, L, N]."""
        return {
            module: np.stack([self.sums[Site(module, layer)].float().cpu().numpy() for layer in range(layers)], axis=1)
            for module, (layers, _) in self.lm.shapes.items()
        }


def gold_logprob(logprobs: torch.Tensor, batch: Batch, gold: Sequence[int], over_vocabulary: bool) -> torch.Tensor:
    """log P(gold answer) of each row, [B]: over the vocabulary (mcf) or renormalised over the row's answers (cf)."""
    starts = batch.first_answer
    picked = logprobs[[start + g for start, g in zip(starts[:-1], gold, strict=True)]]
    if over_vocabulary:
        return picked
    norms = [torch.logsumexp(logprobs[a:b], dim=0) for a, b in itertools.pairwise(starts)]
    return picked - torch.stack(norms)
