"""Change neurons' values within a block, by editing weights or by hooks, and restore the model afterwards.

Scaling row k of a projection's weight, and entry k of its bias, scales its output k at every position.  A row of zeros
and a number in the bias make that number the output at every position.  Both are exact and cost nothing at run time
(METHOD section 6).  A projection without a bias has one within the block.  Some weights cannot be edited (quantised, or
with an unmerged adapter; stacked experts have no bias).  For these a forward hook changes the output instead; the logits
are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch

from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.models.language_model import Lift
from culnig.models.sites import SiteModule, is_linear
from culnig.neurons import NeuronSet, Site, check_belongs
from culnig.passes.outputs import Change, is_hooked, outputs_changed


@contextmanager
def edited(
    lm: LanguageModel, neurons: NeuronSet, change_of: Callable[[Site, list[int]], Change], how: str
) -> Iterator[LanguageModel]:
    """Change the neurons' values within a block; afterwards the model is the same as before, to the byte.

    Args:
        lm: the model, which is edited in place.
        neurons: the neurons.
        change_of: gives the change of some neurons of a site.
        how: "weights" edits weights, "hooks" changes outputs; "auto" edits weights wherever they can be edited.

    Raises:
        UsageError: the model lacks a neuron, `how` is unknown, or weights cannot be edited.
    """
    if how not in ("auto", "weights", "hooks"):
        raise UsageError(f"unknown way '{how}' to change neurons; there are auto, weights and hooks")
    check_belongs(neurons, lm.shapes, lm.name)
    _ = lm.fingerprint  # computed and kept now, so that it is never the hash of edited weights
    with ExitStack() as stack:
        for site, indices in neurons.by_site().items():
            found = lm.sites[site]
            rows = found.outputs(indices)
            change = change_of(site, indices)
            editable = _is_editable(found, change)
            if how == "weights" and not editable:
                raise UsageError(f"the weights of {site.module} in layer {site.layer} cannot be edited; use hooks")
            if how != "hooks" and editable:
                lift = stack.enter_context(_weights_changed(found, rows, change))
            else:
                stack.enter_context(outputs_changed(found, rows, change))
                lift = change.lift
            stack.enter_context(lm.editing(lift))
        yield lm


def _is_editable(found: SiteModule, change: Change) -> bool:
    """Return whether an edit of weights makes the change.

    A replacement needs a bias, which stacked experts do not have.  A change inside a block of hooks must follow them.
    """
    if (change.values is not None and found.stacked) or is_hooked(found):
        return False
    return _weight(found) is not None


def _weight(found: SiteModule) -> torch.Tensor | None:
    """Return a view [outputs, inputs] of a site's weight, or [experts, rows, inputs]; None if it cannot be edited.

    Weights cannot be edited if they belong to another class of projections, are offloaded or sharded, or are not
    floating-point numbers.  Other classes are quantised, or wrapped by an adapter, whose share would be left out.
    """
    module: Any = found.module
    weight = getattr(module, found.stacked or "weight", None)
    if type(weight) is not torch.nn.Parameter or not weight.is_floating_point() or weight.is_meta:
        return None
    if found.stacked:
        return found.expert_rows.detach()
    if weight.ndim != 2:
        return None
    if type(module) is _conv1d():
        return weight.detach().t()
    return weight.detach() if is_linear(module) else None


def _conv1d() -> type:
    from transformers.pytorch_utils import Conv1D

    return Conv1D


@contextmanager
def _weights_changed(found: SiteModule, rows: torch.Tensor, change: Change) -> Iterator[Lift]:
    """Change these rows within the block; yield a function that undoes it for a while."""
    weight, module = _weight(found), cast("Any", found.module)
    assert weight is not None
    rows = rows.to(weight.device)
    at = found.in_experts(rows) if found.stacked else (rows,)
    bias = found.expert_bias if found.stacked else getattr(module, "bias", None)
    added = bias is None and change.values is not None
    if added:
        bias = zero_bias(module)

    def read() -> list[torch.Tensor]:
        chosen = [weight[at]]
        return chosen if bias is None else [*chosen, bias.detach()[at]]

    def write(values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            weight[at] = values[0]
            if bias is not None:
                bias[at] = values[1]

    saved = read()

    def lift() -> Callable[[], None]:
        changed, there = read(), added and module.bias is bias  # not there if it is lifted already
        write(saved)
        if there:
            module.bias = None

        def repeat() -> None:
            if there:
                module.bias = bias
            write(changed)

        return repeat

    try:
        if added:
            module.bias = bias
        scaled = saved[0] * change.factor if change.values is None else torch.zeros_like(saved[0])
        write([scaled, *map(change.of, saved[1:])])
        yield lift
    finally:
        write(saved)
        if added:
            module.bias = None


def zero_bias(module: Any) -> torch.nn.Parameter:
    """Return a bias of zeros that suits a linear projection."""
    weight = module.weight
    return torch.nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
