"""Options for an intervention, and the block that they become."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from culnig.cli import _options as o
from culnig.errors import UsageError

if TYPE_CHECKING:
    from culnig.attribution import Means
    from culnig.data import Item
    from culnig.intervention import Operation
    from culnig.models import LanguageModel
    from culnig.neurons import NeuronSet
    from culnig.progress import Reporter

Op = Annotated[
    str,
    typer.Option(
        help="suppress, enhance, scale=FACTOR; mean, control: replace values by their mean over --reference.",
        rich_help_panel=o.INTERVENTION,
    ),
]
ReferenceOf = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="For --op mean and control: items to take the means over, or a file of them (`culnig score --method"
        " mean_contrast`); by default everyday:neur for mean, everyday:ctrl for control.",
        rich_help_panel=o.INTERVENTION,
    ),
]


@dataclass(frozen=True)
class Intervening:
    """The intervention on the model, if any."""

    neurons: Annotated[
        Path | None,
        typer.Option(
            help="Neuron set to intervene on; without it the model is untouched.", rich_help_panel=o.INTERVENTION
        ),
    ] = None
    op: Op = "suppress"
    reference: ReferenceOf = None
    how: Annotated[
        str,
        typer.Option(help="weights, hooks; auto: weights where they can be edited.", rich_help_panel=o.INTERVENTION),
    ] = "auto"

    def read(self) -> Intervention:
        """Read and check the operation and the set, before the model is loaded, because loading takes time."""
        from culnig.intervention import Operation
        from culnig.neurons import NeuronSet

        operation = Operation.parse(self.op)
        source = reference_of(operation, self.reference)
        if source is not None and self.neurons is None:
            raise UsageError(f"--op {self.op} needs a neuron set: give --neurons")
        return Intervention(self, operation, NeuronSet.load(self.neurons) if self.neurons else None, source)


@dataclass(frozen=True)
class Intervention:
    """An operation on a set of neurons, or none."""

    options: Intervening
    operation: Operation
    chosen: NeuronSet | None
    source: Means | list[Item] | None = None
    means: Means | None = None

    def prepared(self, lm: LanguageModel, show: Reporter) -> Intervention:
        """Check that the set belongs to the model; measure the means that replace values, if any."""
        if self.chosen is not None:
            o.check_model(self.chosen, lm, self.options.neurons)
        return replace(self, means=measured(self.source, lm, show))

    def on(self, lm: LanguageModel) -> AbstractContextManager[Any]:
        """Return a block in which the model is changed."""
        if self.chosen is None:
            return nullcontext()
        return self.operation.on(lm, self.chosen, self.means, how=self.options.how)

    @property
    def meta(self) -> dict[str, Any]:
        """Return the record of the intervention in a result; empty for an untouched model."""
        if self.chosen is None:
            return {}
        facts: dict[str, Any] = {"neurons": str(self.options.neurons), "count": len(self.chosen)}
        facts |= {"operation": self.options.op} | ({"reference": self.means.record} if self.means else {})
        return {"intervention": facts}


def reference_of(operation: Operation, source: str | None) -> Means | list[Item] | None:
    """Return what --reference names: a file of means, or items; None where the operation replaces nothing.

    Raises:
        UsageError: the operation needs no reference; or an unknown file or benchmark.
    """
    from culnig.attribution import Means
    from culnig.data import load_items

    if operation.reference is None:
        if source is not None:
            raise UsageError(f"--reference belongs to --op mean and --op control; --op {operation.name} has none")
        return None
    source = source or f"everyday:{operation.reference}"
    return Means.load(source) if source.endswith(".safetensors") else load_items(source)


def measured(source: Means | list[Item] | None, lm: LanguageModel, show: Reporter) -> Means | None:
    """Return the means of a reference on this model; items are put as scores put them by default.

    Raises:
        UsageError: a file of another model's means.
    """
    from culnig.attribution import Means, mean_values

    if isinstance(source, Means):
        source.check(lm)
    if source is None or isinstance(source, Means):
        return source
    name = ", ".join(dict.fromkeys(item.benchmark for item in source))
    with show.step(f"measure the mean values over {name}", len(source), "prompts") as progress:
        return mean_values(lm, source, progress=progress)
