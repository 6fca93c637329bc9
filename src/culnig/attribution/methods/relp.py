"""Relevance patching: activation times relevance-propagating gradient (Jafari et al. 2025, RelP, arXiv 2508.21258; the
rules are those of layer-wise relevance propagation for transformers, Achtibat et al. 2024, arXiv 2402.05602).

    s_i = n_i * ~dP/dn_i                    summed over positions

where ~d is the backward pass in which the norms' scales are constants, act(x) is x times a constant, and each factor of the
gated product gets half the gradient.  Attention keeps its gradient.  On a linear network it is `culnig:sum`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from culnig.attribution.method import METHODS, GradientMethod, Positions, Seen
from culnig.attribution.relevance import relevance_gradients
from culnig.models import LanguageModel


@METHODS.register("relp")
class RelevancePatching(GradientMethod):
    """n * dP/dn under relevance-propagating rules."""

    positions: Positions = "sum"
    rules: ClassVar[Literal["plain", "relevance"]] = "relevance"

    def check(self, lm: LanguageModel) -> None:
        with relevance_gradients(lm):
            pass

    def contribution(self, seen: Seen) -> torch.Tensor:
        assert seen.gradient is not None
        return seen.value * seen.gradient
