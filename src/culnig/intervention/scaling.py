"""suppress, enhance, scale: context managers that multiply neurons' values and restore the model afterwards.

Scaling row k of a projection's weight, and entry k of its bias, scales its output k at every position.  This is exact
and costs nothing at run time (METHOD section 6).  Some weights cannot be edited (quantised, or with an unmerged
adapter).  For these a forward hook multiplies the output instead; the logits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.models.language_model import Lift
from culnig.models.sites import SiteModule
from culnig.neurons import NeuronSet, check_belongs
from culnig.passes.outputs import Scaling, outputs_scaled


@dataclass(frozen=True)
class Operation:
    """The operation on the neurons' values: multiply them by `factor`."""

    name: str
    factor: float

    @classmethod
    def parse(cls, text: str) -> Operation:
        """Parse `suppress` (x 0), `enhance` (x 2) or `scale=FACTOR`.

        Raises:
            UsageError: the text is none of these.
        """
        named = {"suppress": 0.0, "enhance": 2.0}
        if text in named:
            return cls(text, named[text])
        kind, _, number = text.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = float("nan")
        if kind != "scale" or not -1e6 < factor < 1e6:
            raise UsageError(f"unknown operation '{text}'; there are suppress, enhance, and scale=FACTOR (scale=0.5)")
        return cls(text, factor)


@contextmanager
def scale(lm: LanguageModel, neurons: NeuronSet, factor: float, *, how: str = "auto") -> Iterator[LanguageModel]:
    """Multiply the neurons' values by `factor` within a block; afterwards the model is the same as before, to the byte.

    Blocks can be nested; the factors of a neuron in several blocks multiply.

    Args:
        lm: the model, which is edited in place.
        neurons: the neurons to scale.
        factor: 0 silences, 2 doubles.
        how: "weights" edits weights, "hooks" multiplies outputs; "auto" edits weights wherever they can be edited.

    Raises:
        UsageError: the model lacks a neuron, `how` is unknown, or weights cannot be edited.
    """
    if how not in ("auto", "weights", "hooks"):
        raise UsageError(f"unknown way '{how}' to scale neurons; there are auto, weights and hooks")
    check_belongs(neurons, lm.shapes, lm.name)
    _ = lm.fingerprint  # computed and kept now, so that it is never the hash of edited weights
    with ExitStack() as stack:
        for site, indices in neurons.by_site().items():
            found = lm.sites[site]
            rows = found.outputs(indices)
            editable = _weight(found) is not None
            if how == "weights" and not editable:
                raise UsageError(f"the weights of {site.module} in layer {site.layer} cannot be edited; use hooks")
            if how != "hooks" and editable:
                lift = stack.enter_context(_rows_scaled(found, rows, factor))
            else:
                scaling = Scaling(factor)
                stack.enter_context(outputs_scaled(found, rows, scaling))
                lift = scaling.lift
            stack.enter_context(lm.editing(lift))
        yield lm


def suppress(lm: LanguageModel, neurons: NeuronSet, *, how: str = "auto") -> Any:
    """Silence neurons within a block: `scale` with factor 0."""
    return scale(lm, neurons, 0.0, how=how)


def enhance(lm: LanguageModel, neurons: NeuronSet, *, how: str = "auto") -> Any:
    """Double neurons within a block: `scale` with factor 2."""
    return scale(lm, neurons, 2.0, how=how)


def _weight(found: SiteModule) -> tuple[torch.Tensor, int] | None:
    """Return a site's weight as a matrix and the dimension that counts its outputs; None if it cannot be edited.

    Three kinds of weights cannot be edited: those of other classes of projections, offloaded ones, and those that are
    not floating-point numbers.  Other classes are quantised, or wrapped by an adapter, whose share would be left out.
    """
    module: Any = found.module
    weight = getattr(module, found.stacked or "weight", None)
    if not isinstance(weight, torch.nn.Parameter) or not weight.is_floating_point() or weight.is_meta:
        return None
    if found.stacked:
        return weight.detach().view(-1, weight.shape[-1]), 0
    if weight.ndim != 2 or type(module) not in (torch.nn.Linear, _conv1d()):
        return None
    return weight, 0 if type(module) is torch.nn.Linear else 1


def _conv1d() -> type:
    from transformers.pytorch_utils import Conv1D

    return Conv1D


@contextmanager
def _rows_scaled(found: SiteModule, rows: torch.Tensor, factor: float) -> Iterator[Lift]:
    """Multiply these rows within the block; yield a function that undoes it for a while."""
    weight = _weight(found)
    assert weight is not None
    rows = rows.to(weight[0].device)
    bias = None if found.stacked else getattr(found.module, "bias", None)
    edited = [weight] if bias is None else [weight, (bias, 0)]

    def read() -> list[torch.Tensor]:
        return [tensor.detach().index_select(dim, rows).clone() for tensor, dim in edited]

    def write(values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for (tensor, dim), value in zip(edited, values, strict=True):
                tensor.index_copy_(dim, rows, value)

    saved = read()

    def lift() -> Callable[[], None]:
        scaled = read()
        write(saved)
        return lambda: write(scaled)

    try:
        write([original * factor for original in saved])
        yield lift
    finally:
        write(saved)
