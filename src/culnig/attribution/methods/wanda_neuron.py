"""Activation norm times outgoing weight norm: Wanda's importance (Sun et al. 2024, arXiv 2306.11695) of whole neurons.

    s(item) = ||w_out|| * sqrt(mean over positions of h^2)

Gate and up neuron k: h = act(gate_k) * up_k, what the down projection reads and zeroing either takes away, and w_out the
down projection's column k; the two get the same score.  v neuron: h = its value, w_out its columns of the output projection in
all the query heads that share its key-value head (attention averages values over positions; the norm is taken before that).
q and k neurons meet each other in a dot product, no weight reads them, and they are left out: such a file holds gate, up and v
alone.  With experts, a position routed elsewhere counts as h = 0, and the router's weight is left out.  Nothing is weighted
by confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch

from culnig.attribution.method import METHODS, Seen, ValueMethod
from culnig.attribution.positions import mean_of
from culnig.errors import ModelError
from culnig.models import LanguageModel
from culnig.models.downstream import outgoing_norms
from culnig.neurons import VALUE, mlp_of


@METHODS.register("wanda_neuron")
class WandaNeuron(ValueMethod):
    """||h|| * ||w_out||."""

    place: ClassVar[Literal["site", "product"]] = "product"

    def modules(self, lm: LanguageModel) -> list[str]:
        return [module for module in lm.shapes if mlp_of(module) or module == VALUE]

    def check(self, lm: LanguageModel) -> None:
        if lm.is_sharded:
            raise ModelError(f"{self.name} reads whole weights, which no process has with device map fsdp; use auto")
        for module in self.modules(lm):
            outgoing_norms(lm, next(site for site in lm.sites if site.module == module))

    def measure(self, seen: Seen) -> Sequence[torch.Tensor]:
        known = seen.work.prompts.cache
        if (key := (self.base, seen.site)) not in known:
            known[key] = outgoing_norms(seen.work.lm, seen.site).to(seen.value.device)
        norms = known[key][seen.first : seen.first + seen.value.shape[-1]]
        return [mean_of(seen.value.float().square(), seen.real).sqrt() * norms]
