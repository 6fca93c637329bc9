"""`gradient_norm`: the size of the gradient alone."""

import torch

from culnig.attribution import METHODS, GradientMethod, Seen


@METHODS.register("gradient_norm")
class GradientNorm(GradientMethod):
    """|dP/dn|, without the value."""

    def contribution(self, seen: Seen) -> torch.Tensor:
        """Return the estimate at every position, [B, T, N]."""
        assert seen.gradient is not None
        return seen.gradient.abs()
