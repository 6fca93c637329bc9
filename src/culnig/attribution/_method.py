"""What a scoring method computes, and the registry of methods."""

from __future__ import annotations

from typing import Protocol

import torch

from culnig.registry import Registry


class Method(Protocol):
    """Value and gradient of one site for one batch -> a number for each row and neuron."""

    def __call__(
        self, value: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor | None, probability: torch.Tensor
    ) -> torch.Tensor:
        """The per-item score, before weighting by confidence and clamping of controls.

        Args:
            value: [B, T, N], the neurons' values.
            gradient: [B, T, N], d log P / d value.
            real: [B, T], True at tokens, False at padding; None where there is no padding.
            probability: [B], P(gold answer).

        Returns:
            [B, N], float32.
        """
        ...


METHODS: Registry[Method] = Registry("method", "culnig.attribution.methods", "culnig.methods")
