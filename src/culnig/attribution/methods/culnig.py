"""The CULNIG score: gradient times activation, maximum over positions (arXiv 2510.08284; METHOD section 3).

s_i(x, y) = n_i * dP(y|x)/dn_i          first-order estimate of what zeroing n_i takes from P(y|x)
s(x, y)   = max over positions i
"""

from __future__ import annotations

import torch

from culnig.attribution._method import METHODS


@METHODS.register("culnig")
def culnig(
    value: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor | None, probability: torch.Tensor
) -> torch.Tensor:
    """max over positions of value * dP/dvalue, with dP = P * d log P; padding takes no part.  [B, N]"""
    product = value * gradient
    if real is not None:
        product.masked_fill_(~real[..., None], -torch.inf)
    return product.amax(dim=1).float() * probability[:, None]
