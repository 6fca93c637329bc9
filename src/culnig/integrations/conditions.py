"""The three states in which a set's effect is looked at: the untouched model, the set changed, random sets changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from culnig.attribution import Means
from culnig.intervention import Operation
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet
from culnig.selection import select_random

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class State:
    """One state of a model.

    Attributes:
        name: "untouched", the operation's name, or "random-0".
        neurons: what is changed; None for the untouched model.
        operation: what is done to them.
        means: what replaces their values, where the operation replaces them.
        how: as for `intervention.scale`.
    """

    name: str
    neurons: NeuronSet | None = None
    operation: Operation | None = None
    means: Means | None = None
    how: str = "auto"

    def on(self, lm: LanguageModel) -> AbstractContextManager[Any]:
        """Return a block in which the model is in this state."""
        if self.neurons is None or self.operation is None:
            return nullcontext()
        return self.operation.on(lm, self.neurons, self.means, how=self.how)

    @property
    def meta(self) -> dict[str, Any]:
        """Return what results record of the state."""
        if self.neurons is None or self.operation is None:
            return {}
        return {"intervention": {"neurons": self.name, "count": len(self.neurons), "operation": self.operation.name}}


def states(
    lm: LanguageModel,
    neurons: NeuronSet,
    operation: Operation,
    means: Means | None = None,
    *,
    random_sets: int = 1,
    seed: int = 0,
    how: str = "auto",
) -> list[State]:
    """Return the untouched model, the set under the operation, and random sets matched in module and layer under it.

    Raises:
        UsageError: an empty set, or a site with too few other neurons to draw from.
    """
    return [
        State(UNTOUCHED),
        State(operation.name, neurons, operation, means, how),
        *(State(f"random-{i}", drawn, operation, means, how) for i, drawn in _draws(lm, neurons, random_sets, seed)),
    ]


def _draws(lm: LanguageModel, neurons: NeuronSet, count: int, seed: int) -> Iterator[tuple[int, NeuronSet]]:
    for number in range(count):
        yield number, select_random(neurons, lm.shapes, seed=seed + number)
