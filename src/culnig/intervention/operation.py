"""The operations by name, as commands and configs give them."""

from __future__ import annotations

from dataclasses import dataclass

from culnig.attribution import Means
from culnig.errors import UsageError
from culnig.intervention.scaling import Block, replace, scale
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet

SCALED = {
    "suppress": (0.0, "suppression", "Switching off"),
    "enhance": (2.0, "doubling", "Doubling"),
}
"""Name -> factor, noun, and verb as a sentence begins with it."""
REPLACED = {
    "mean": ("neur", "the mean over the cultural items"),
    "control": ("ctrl", "the mean over the control items"),
}
"""Name -> the identification set whose means are the reference, and the reference in words."""
OPERATIONS = "suppress, enhance, scale=FACTOR (scale=0.5), mean and control"


@dataclass(frozen=True)
class Operation:
    """The operation on the neurons' values.

    Attributes:
        name: as it was given.
        factor: what the values are multiplied by; None if they are replaced.
        reference: the set whose means replace the values: "neur" or "ctrl"; None if they are multiplied.
    """

    name: str
    factor: float | None
    reference: str | None = None

    @classmethod
    def parse(cls, text: str) -> Operation:
        """Parse `suppress` (x 0), `enhance` (x 2), `scale=FACTOR`, `mean` or `control`.

        Raises:
            UsageError: the text is none of these.
        """
        if text in SCALED:
            return cls(text, SCALED[text][0])
        if text in REPLACED:
            return cls(text, None, REPLACED[text][0])
        kind, _, number = text.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = float("nan")
        if kind != "scale" or not -1e6 < factor < 1e6:
            raise UsageError(f"unknown operation '{text}'; there are {OPERATIONS}")
        return cls(text, factor)

    @property
    def noun(self) -> str:
        """What is done to the neurons, as a noun: "suppression"."""
        if self.name in SCALED:
            return SCALED[self.name][1]
        if self.name in REPLACED:
            return f"replacement by {REPLACED[self.name][1]}"
        return f"scaling by {self.factor:g}"

    def doing(self, neurons: str) -> str:
        """What is done, as a sentence begins with it: "Switching off 255 neurons"."""
        if self.name in SCALED:
            return f"{SCALED[self.name][2]} {neurons}"
        if self.name in REPLACED:
            return f"Replacing {neurons} by {REPLACED[self.name][1]}"
        return f"Scaling {neurons} by {self.factor:g}"

    def on(self, lm: LanguageModel, neurons: NeuronSet, means: Means | None = None, *, how: str = "auto") -> Block:
        """Return the block in which the operation is done.

        Args:
            lm: the model.
            neurons: the neurons.
            means: the reference, where the operation replaces values.
            how: as for `scale`.

        Raises:
            UsageError: as `scale` and `replace`; or an operation that replaces, without means.
        """
        if self.factor is not None:
            return scale(lm, neurons, self.factor, how=how)
        if means is None:
            raise UsageError(f"the operation '{self.name}' needs the mean values of a set of items (mean_values)")
        return replace(lm, neurons, means, how=how)
