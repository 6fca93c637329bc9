"""Activation probability entropy: LAPE by language (Tang et al. 2024, arXiv 2402.16438), CAPE by culture (Namazifard & Galke
2025, arXiv 2508.02241).

    p_c = share of a group's tokens at which act(gate) > 0, with the model's own activation function
    H   = - sum over groups of q_c log q_c,  q = p / sum of p

Chosen are the neurons of lowest H (1 % unless told) among those with at least one p_c over the 95th percentile of all p; a neuron
belongs to every group whose p_c is over it.  Groups are those of the items: languages give LAPE, countries CAPE.  `cape` takes
away the neurons that the same rule gives to the same group on the controls (the paper: those specific to the culture's
language, which items in one language cannot show).  `lape` looks at the items alone; neither looks at country reading.
A gate neuron has an activation, others have none: such a file holds the gate alone.  Sums are numbers of tokens, of all positions
but padding; at a position that is routed past its expert a neuron is not active.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field

from culnig.attribution.method import METHODS, Divisor, PerModule, Seen, ValueMethod
from culnig.attribution.store import own_neurons
from culnig.errors import ModelError, UsageError
from culnig.models import LanguageModel
from culnig.models.downstream import activation_of
from culnig.neurons import GATE, number_of_neurons

if TYPE_CHECKING:
    from culnig.attribution.store import Scores


@METHODS.register("lape")
class Lape(ValueMethod):
    """Minus the entropy of activation probabilities over groups, where one of them is high."""

    percentile: float = Field(95.0, ge=0.0, lt=100.0)
    pooled: ClassVar[bool] = False
    uses_control: ClassVar[bool] = False
    uses_surface: ClassVar[bool] = False
    compares_groups: ClassVar[bool] = True
    share: ClassVar[float | None] = 0.01

    def modules(self, lm: LanguageModel) -> list[str]:
        return [GATE] if GATE in lm.shapes else []

    def check(self, lm: LanguageModel) -> None:
        if not self.modules(lm):
            raise ModelError(f"{self.base} needs {GATE}, which {lm.name} does not have")
        for site in lm.sites:
            if site.module == GATE:
                activation_of(lm, site.layer)

    def measure(self, seen: Seen) -> Sequence[torch.Tensor]:
        active = activation_of(seen.work.lm, seen.site.layer)(seen.value) > 0
        if seen.real is not None:
            active &= seen.real[..., None]
        return [active.sum(dim=1)]

    def culture_general_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        return lambda module: self._rank(neur, module)

    def culture_specific_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        """The rank where a group's p_c is high, else -inf."""
        return lambda module: np.where(self._high(neur, module), self._rank(neur, module), -np.inf)

    def probabilities(self, scores: Scores, module: str) -> np.ndarray:
        """p_c, float64 [G, L, N]."""
        if scores.tokens is None:
            raise UsageError(f"the scores of {self.name} lack the number of tokens; score again")
        return scores.sums[self.name, module].astype(np.float64) / scores.tokens[:, None, None]

    def _high(self, scores: Scores, module: str) -> np.ndarray:
        p = self.probabilities(scores, module)
        return p > np.percentile(p[:, own_neurons(scores.shapes()[module])], self.percentile)

    def _rank(self, scores: Scores, module: str) -> np.ndarray:
        if len(scores.groups) < 2:
            raise UsageError(f"{self.name} compares groups; the scores hold only '{scores.groups[0]}'")
        p = self.probabilities(scores, module)
        total = p.sum(axis=0)
        q = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
        entropy = -np.sum(q * np.log(q, out=np.zeros_like(q), where=q > 0), axis=0)
        ranked = self._high(scores, module).any(axis=0) & own_neurons(scores.shapes()[module])
        return np.where(ranked, -entropy, -np.inf)


@METHODS.register("cape")
class Cape(Lape):
    """LAPE's rule without what it finds on the controls."""

    uses_control: ClassVar[bool] = True

    def culture_general_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        own = self.culture_specific_rank(neur, ctrl, divisor)
        return lambda module: own(module).max(axis=0)

    def culture_specific_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        if ctrl is None:
            raise UsageError("cape takes away what it finds on the controls; give --ctrl, or use lape")
        if ctrl.groups != neur.groups:
            raise UsageError(
                f"the neur scores are of {neur.groups}, the ctrl scores of {ctrl.groups}; score the same items"
            )
        own = super().culture_specific_rank(neur, ctrl, divisor)

        def pure(module: str) -> np.ndarray:
            rank = self._rank(ctrl, module)
            size = number_of_neurons({module: ctrl.shapes()[module]})
            last = np.sort(rank, axis=None)[::-1][max(int((self.share or 0) * size) - 1, 0)]
            found = self._high(ctrl, module) & (rank >= last) & np.isfinite(rank)
            return np.where(found, -np.inf, own(module))

        return pure
