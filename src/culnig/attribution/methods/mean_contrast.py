"""Difference of mean activations, and Cohen's d: the plainest of baselines (difference in means; Cohen 1988).

    x(item) = mean over positions of n;  m_A, v_A = mean and variance of x over a set A of items
    difference                |m_A - m_B|
    `d`: Cohen's d            |m_A - m_B| / sqrt(pooled variance of the two)

Culture-general: A = the cultural items, B = their controls.  Culture-specific, country c: A = c's items, B = all others.
Country reading: A = its items, B = the controls.  The absolute value, since the sign of a query or key neuron means nothing.
Items count alike: nothing is weighted by confidence or clamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from culnig.attribution.method import METHODS, Divisor, PerModule, Seen, ValueMethod
from culnig.attribution.positions import mean_of
from culnig.errors import UsageError

if TYPE_CHECKING:
    from culnig.attribution.store import Scores

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Number, sum and sum of squares of a set of items."""


@METHODS.register("mean_contrast")
class MeanContrast(ValueMethod):
    """|difference of means|, or |Cohen's d|."""

    measure_by: Literal["difference", "d"] = "difference"
    statistics: ClassVar[tuple[str, ...]] = ("", "+squares")

    def measure(self, seen: Seen) -> Sequence[torch.Tensor]:
        mean = mean_of(seen.value, seen.real)
        return mean, mean.square()

    def culture_general_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        if ctrl is None:
            raise UsageError(f"{self.name} compares the items with their controls; give --ctrl, not --no-ctrl")
        return lambda module: self._contrast(self._all(neur, module), self._all(ctrl, module))

    def culture_specific_rank(self, neur: Scores, ctrl: Scores | None, divisor: Divisor) -> PerModule:
        def each(module: str) -> np.ndarray:
            own, everyone = self._by_group(neur, module), self._all(neur, module)
            others = tuple(whole - part for whole, part in zip(everyone, own, strict=True))
            return self._contrast(own, others)  # type: ignore[arg-type]

        return each

    def surface_rank(self, crc: Scores, ctrl: Scores | None, group: str | None = None) -> PerModule:
        if ctrl is None:
            raise UsageError(f"{self.name} compares country reading with the controls; give --ctrl, or say --no-crc")

        def contrast(module: str) -> np.ndarray:
            own = self._all(crc, module)
            if group is not None:
                own = tuple(part[crc.groups.index(group)] for part in self._by_group(crc, module))
            return self._contrast(own, self._all(ctrl, module))

        return contrast

    def _by_group(self, scores: Scores, module: str) -> Moments:
        first, second = (scores.sums[self.name + part, module].astype(np.float64) for part in self.statistics)
        return scores.count.astype(np.float64)[:, None, None], first, second

    def _all(self, scores: Scores, module: str) -> Moments:
        number, first, second = (part.sum(axis=0) for part in self._by_group(scores, module))
        return number, first, second

    def _contrast(self, a: Moments, b: Moments) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = np.abs(a[1] / a[0] - b[1] / b[0])
            if self.measure_by == "d":
                spread = sum(square - first**2 / number for number, first, square in (a, b))
                variance = np.maximum(spread, 0) / (a[0] + b[0] - 2)
                difference = np.where(variance > 0, difference / np.sqrt(variance), 0.0)
        return np.nan_to_num(difference, nan=0.0, posinf=0.0)
