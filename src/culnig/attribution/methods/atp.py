"""Attribution patching: what replacing a neuron's value by a reference takes from P, to first order.

    s_i = (a_i - a_ref) * dP/da_i           summed over positions, since a patch replaces them all

that is, minus the change (a_ref - a) * g that patching makes (Nanda 2023, "Attribution patching: activation patching at
industrial scale"; Syed et al. 2023, arXiv 2310.10348; Kramar et al. 2024, arXiv 2403.00745), so that larger means more
important here too.  References: `zero`; `dataset`, the neuron's mean value over the job's items (each item's mean over its
positions first); `control`, its mean over the positions of the item's own control prompt, the item without its question
(the two prompts differ in length, so positions have no counterpart).
"""

from __future__ import annotations

from typing import Literal

import torch

from culnig.attribution.method import METHODS, Positions, Seen, ValueTimesGradient
from culnig.errors import UsageError
from culnig.models import LanguageModel


@METHODS.register("atp")
class AttributionPatching(ValueTimesGradient):
    """(a - a_ref) * dP/da."""

    positions: Positions = "sum"
    reference: Literal["zero", "dataset", "control"] = "zero"

    def check(self, lm: LanguageModel) -> None:
        if self.place == "product" and self.reference != "zero":
            raise UsageError(
                f"{self.name}: a reference replaces the gate's value, not the product behind it; use atp:product, or"
                f" atp:{self.reference}"
            )

    def contribution(self, seen: Seen) -> torch.Tensor:
        if self.reference == "zero":
            return super().contribution(seen)
        assert seen.gradient is not None
        means = seen.work.prompts.mean if self.reference == "dataset" else seen.work.twin_means
        assert means is not None
        reference = means[seen.site][..., seen.first : seen.first + seen.value.shape[-1]].to(seen.value)
        if reference.ndim == 2:
            reference = reference[:, None]
        return (seen.value - reference) * seen.gradient
