"""Relevance patching: activation times relevance-propagating gradient (Jafari et al. 2025, RelP, arXiv 2508.21258; the
rules are those of layer-wise relevance propagation for transformers, Achtibat et al. 2024, arXiv 2402.05602).

    s_i = n_i * ~dP/dn_i                    summed over positions

where ~d is the backward pass in which the norms' scales are constants, act(x) is x times a constant, and each factor of the
gated product gets half the gradient; `product` gives gate and up neurons the whole, h * ~dP/dh.  Attention keeps its gradient.  On a linear network it is `culnig:sum`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from culnig.attribution.method import METHODS, Positions, ValueTimesGradient
from culnig.attribution.relevance import relevance_gradients
from culnig.models import LanguageModel


@METHODS.register("relp")
class RelevancePatching(ValueTimesGradient):
    """n * dP/dn under relevance-propagating rules."""

    positions: Positions = "sum"
    rules: ClassVar[Literal["plain", "relevance"]] = "relevance"

    def check(self, lm: LanguageModel) -> None:
        with relevance_gradients(lm):
            pass
