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

from culnig.attribution.method import METHODS, GradientMethod, Positions, Seen


@METHODS.register("atp")
class AttributionPatching(GradientMethod):
    """(a - a_ref) * dP/da."""

    positions: Positions = "sum"
    reference: Literal["zero", "dataset", "control"] = "zero"

    def contribution(self, seen: Seen) -> torch.Tensor:
        assert seen.gradient is not None
        if self.reference == "zero":
            return seen.value * seen.gradient
        means = seen.work.prompts.mean if self.reference == "dataset" else seen.work.twin_means
        assert means is not None
        reference = means[seen.site][..., seen.first : seen.first + seen.value.shape[-1]].to(seen.value)
        if reference.ndim == 2:
            reference = reference[:, None]
        return (seen.value - reference) * seen.gradient
