"""Random scores: a uniform number for each neuron, the same for every item, drawn from a seed.

Selecting by them takes neurons uniformly from each pool, as many as any other method would.  The other random control, matched
to a given set (as many from the same modules and layers), is `culnig select random --like SET`.  Needs no pass of the model.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field

from culnig.attribution.method import METHODS, Divisor, PerModule, SweepMethod
from culnig.neurons import Site

if TYPE_CHECKING:
    from culnig.attribution.batch import ScoringBatch
    from culnig.attribution.store import Scores


@METHODS.register("random")
class Random(SweepMethod):
    """Uniform on [0, 1)."""

    seed: int = Field(0, ge=0)
    runs_passes: ClassVar[bool] = False
    uses_control: ClassVar[bool] = False
    uses_surface: ClassVar[bool] = False

    def sweep(self, work: ScoringBatch) -> Iterator[tuple[Site, int, torch.Tensor]]:
        for site, found in work.lm.sites.items():
            numbers = torch.from_numpy(self.draw(site, found.width)).to(found.device)
            yield site, 0, numbers.expand(len(work.rows), -1)

    def draw(self, site: Site, width: int) -> np.ndarray:
        """A site's numbers, float32 [N]."""
        rng = np.random.default_rng([self.seed, zlib.crc32(site.module.encode()), site.layer])
        return rng.random(width, dtype=np.float32)

    def culture_specific_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        """Every group has numbers of its own: the same ones turned by a group's share of the circle."""
        turn = (
            np.arange(len(neur.groups))[:, None, None] * 0.6180339887498949
        )  # golden ratio: spreads any number of groups

        def each(module: str) -> np.ndarray:
            return (neur.sums[self.name, module] / divisor(neur) + turn) % 1.0

        return each
