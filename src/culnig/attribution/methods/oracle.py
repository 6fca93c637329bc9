"""Exact suppression, one neuron at a time: what the other methods estimate.

    s = P(y|x) - P(y|x; n = reference at all positions)

on a sample of neurons, `sample` of each module in each layer, drawn from `seed`; the others have no score (nan) and are never
selected.  The references are those of `atp`: `zero`; `dataset`, the neuron's mean value over the job's items; `control`, its
mean over the item's own control prompt.  So `oracle:dataset` is what `atp:dataset` estimates.  A pass for every few neurons and every batch, from the neuron's layer upwards.  `culnig.attribution.oracle` does it
for neurons of your choice and keeps every item's change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field

from culnig.attribution.exact import changes
from culnig.attribution.method import METHODS, SweepMethod, Weighted
from culnig.neurons import Neuron, Site

if TYPE_CHECKING:
    from culnig.attribution.batch import ScoringBatch


@METHODS.register("oracle")
class Oracle(Weighted, SweepMethod):
    """P minus P with the neuron zeroed or replaced."""

    reference: Literal["zero", "dataset", "control"] = "zero"
    sample: int = Field(16, ge=1)
    seed: int = Field(0, ge=0)

    def neurons(self, site: Site, width: int) -> list[Neuron]:
        """The sample of one site."""
        rng = np.random.default_rng([self.seed, zlib.crc32(site.module.encode()), site.layer])
        chosen = rng.choice(width, size=min(self.sample, width), replace=False)
        return [Neuron(*site, int(i)) for i in sorted(chosen)]

    def sweep(self, work: ScoringBatch) -> Iterator[tuple[Site, int, torch.Tensor]]:
        sampled = {site: self.neurons(site, found.width) for site, found in work.sites.items()}
        everyone = [neuron for neurons in sampled.values() for neuron in neurons]
        means = {"zero": None, "dataset": work.prompts.mean, "control": work.twin_means}[self.reference]
        change = dict(changes(work, everyone, self.target, means))
        start = 0
        for site, neurons in sampled.items():
            stop = start + len(neurons)
            columns = torch.stack([change[i] for i in range(start, stop)], dim=1)
            scores = columns.new_full((len(work.rows), work.sites[site].width), torch.nan)
            scores[:, [neuron.index for neuron in neurons]] = columns
            yield site, 0, self.finish(work, scores.float()).to(work.sites[site].device)
            start = stop
