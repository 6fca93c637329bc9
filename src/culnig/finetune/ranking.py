"""The projections of a model's decoder layers, with their parameters and their neurons of a set."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from torch import nn

from culnig.errors import ModelError, UsageError
from culnig.models import LanguageModel
from culnig.models.sites import is_transposed
from culnig.neurons import NeuronSet, check_belongs


@dataclass(frozen=True)
class Projection:
    """One projection of one decoder layer of the architecture (a fused projection counts as one).

    Attributes:
        path: its path from the model ("model.layers.3.mlp.gate_proj").
        module: its path inside the layer ("mlp.gate_proj").
        layer: number of the layer, from 0.
        parameters: number of values that it holds.
        outputs: number of its output coordinates; with stacked experts, those of all experts.
        neurons: number of neurons of the set that it computes.
        stacked: whether its path ends in a parameter [experts, rows, inputs], not in a module.
        block: the part of the layer that it belongs to ("mlp", "self_attn"); "" where the layer has no such parts.
        block_neurons: neurons of the set in the whole block: a down_proj has those of its gate_proj.
        holds: modules of the neurons that it computes ("mlp.gate_proj", or q, k and v where they are fused).
    """

    path: str
    module: str
    layer: int
    parameters: int
    outputs: int
    neurons: int
    stacked: bool = False
    block: str = ""
    block_neurons: int = 0
    holds: frozenset[str] = frozenset()

    @property
    def density(self) -> float:
        """Share of its outputs that are neurons of the set."""
        return self.neurons / self.outputs


def find_projections(lm: LanguageModel, neurons: NeuronSet) -> list[Projection]:
    """Return all projections of the decoder layers, by layer; those without neurons (o_proj, down_proj) have count 0.

    Raises:
        UsageError: the model lacks a neuron.
        ModelError: the layers have no projection.
    """
    check_belongs(neurons, lm.shapes, lm.name)
    counts: Counter[tuple[int, str | None]] = Counter()
    holds: dict[tuple[int, str | None], set[str]] = {}
    for site, place in lm.sites.items():
        holds.setdefault((id(place.module), place.stacked), set()).add(site.module)
    for site, indices in neurons.by_site().items():
        counts[id(lm.sites[site].module), lm.sites[site].stacked] += len(indices)
    found = []
    for number, layer in enumerate(lm.layers):
        for name, module, stacked in _within(layer):
            tensors = [getattr(module, stacked)] if stacked else list(module.parameters())
            path = name if stacked is None else f"{name}.{stacked}"
            found.append(
                Projection(
                    path=f"{lm.family.layers}.{number}.{path}",
                    module=path,
                    layer=number,
                    parameters=sum(t.numel() for t in tensors),
                    outputs=_outputs(module) if stacked is None else _stacked_outputs(module, tensors[0]),
                    neurons=counts[id(module), stacked],
                    stacked=stacked is not None,
                    block=path.rpartition(".")[0].partition(".")[0],
                    holds=frozenset(holds.get((id(module), stacked), ())),
                )
            )
    if not found:
        raise ModelError(f"{lm.name}: no projection found in its decoder layers")
    of_block: Counter[tuple[int, str]] = Counter()
    for p in found:
        of_block[p.layer, p.block] += p.neurons
    return [replace(p, block_neurons=of_block[p.layer, p.block]) for p in found]


def _within(layer: nn.Module) -> Iterator[tuple[str, nn.Module, str | None]]:
    """Yield (path, module, name of a stacked parameter or None) of a layer's projections; none is inside another."""
    inside: list[str] = []
    for name, module in layer.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        if _outputs(module):
            inside.append(f"{name}.")
            yield name, module, None
        for parameter, value in module.named_parameters(recurse=False):
            if value.ndim == 3:
                yield name, module, parameter


def _outputs(module: Any) -> int:
    """Return the output coordinates of a Linear, a Conv1D, or a quantised or wrapped one; 0 for any other module."""
    return int(getattr(module, "out_features", 0) or getattr(module, "nf", 0))


def _stacked_outputs(module: nn.Module, weight: nn.Parameter) -> int:
    """Return the output coordinates of all experts of a stacked parameter."""
    return weight.shape[0] * weight.shape[2 if is_transposed(module) else 1]


def decoder_parameters(lm: LanguageModel) -> int:
    """Return the number of values in the decoder layers, norms included, without embeddings, final norm and head."""
    return sum(p.numel() for p in lm.layers.parameters())


BY = ("module", "block")
AMONG = ("all", "gates", "mlp")
GATE = "mlp.gate_proj"


def rank(projections: Sequence[Projection], seed: int = 0, by: str = "module") -> list[Projection]:
    """Rank projections by number of neurons, largest first; the seed decides the order of equals.

    Most projections have no neurons.  In the model's own order, a choice among these would be its first layers.

    Args:
        projections: the result of `find_projections`.
        seed: seed of the order of equals.
        by: "module" ranks by a projection's own neurons, then by their density.  "block" ranks as the published lists do:
            up_proj and down_proj have the count of their gate_proj, and o_proj that of q, k and v together.  A block
            stays together, in the order of the model.

    Raises:
        UsageError: the ranking is unknown.
    """
    if by not in BY:
        raise UsageError(f"unknown ranking '{by}'; there are {', '.join(BY)}")
    shuffler = random.Random(seed)
    if by == "module":
        shuffled = list(projections)
        shuffler.shuffle(shuffled)
        return sorted(shuffled, key=lambda p: (-p.neurons, -p.density))
    blocks: dict[tuple[int, str], list[Projection]] = {}
    for p in projections:
        blocks.setdefault((p.layer, p.block), []).append(p)
    order = list(blocks.values())
    shuffler.shuffle(order)
    return [p for block in sorted(order, key=lambda block: -block[0].block_neurons) for p in block]


def within(projections: Sequence[Projection], among: str) -> list[Projection]:
    """Return the projections of one kind, so that a choice among them differs in culture and not in kind.

    Args:
        projections: the result of `find_projections`.
        among: "all"; "gates" for those that compute gate neurons; "mlp" for whole blocks with such a projection.

    Raises:
        UsageError: the kind is unknown.
    """
    if among not in AMONG:
        raise UsageError(f"unknown kind of modules '{among}'; there are {', '.join(AMONG)}")
    if among == "all":
        return list(projections)
    gates = [p for p in projections if GATE in p.holds]
    blocks = {(p.layer, p.block) for p in gates}
    return gates if among == "gates" else [p for p in projections if (p.layer, p.block) in blocks]


TOLERANCE = 0.01
"""Largest distance of the chosen parameters from the budget, as a share of it."""
PICKS = ("top", "bottom", "random")


@dataclass(frozen=True)
class Choice:
    """Projections chosen by a budget.

    Attributes:
        pick: top, bottom or random.
        asked: share of the decoder's parameters that was requested.
        total: the decoder's parameters.
        projections: the chosen ones, in the order of choice.
        by: what they are ranked by, module or block.
        among: the kind of projections that the choice was made from.
    """

    pick: str
    asked: float
    total: int
    projections: tuple[Projection, ...]
    by: str = "module"
    among: str = "all"

    @property
    def parameters(self) -> int:
        """Parameters of the chosen projections."""
        return sum(p.parameters for p in self.projections)

    @property
    def share(self) -> float:
        """The share of the decoder's parameters that was reached."""
        return self.parameters / self.total

    @property
    def neurons(self) -> int:
        """Neurons of the set in the chosen projections."""
        return sum(p.neurons for p in self.projections)


def choose(
    projections: Sequence[Projection],
    total: int,
    share: float,
    pick: str = "top",
    *,
    seed: int = 0,
    by: str = "module",
    among: str = "all",
) -> Choice:
    """Take projections from the top or the bottom of the ranking, or in random order, up to a budget.

    Projections are taken in order.  One is skipped only if no choice that contains it and later ones can come within
    the tolerance of the budget.  So the choice is the first one in the order of the ranking that keeps the budget.

    Args:
        projections: the result of `find_projections`.
        total: the decoder's parameters (`decoder_parameters`).
        share: share of them to choose, above 0 and at most 1.
        pick: "top" (most neurons of the set), "bottom" (fewest) or "random".
        seed: seed of the order of equals in the ranking, and of the order of "random".
        by: "module" or "block", as in `rank`.
        among: "all", "gates" or "mlp", as in `within`; the share is of the whole decoder all the same.

    Raises:
        UsageError: the pick, the ranking or the kind is unknown, the share is out of range, or no choice keeps the budget (the message names a
            share that can be reached).
    """
    if pick not in PICKS:
        raise UsageError(f"unknown pick '{pick}'; there are {', '.join(PICKS)}")
    if not 0 < share <= 1:
        raise UsageError(f"a share of {share:.4g} of the parameters: it must be above 0 % and at most 100 %")
    ordered = rank(within(projections, among), seed, by)
    if pick == "bottom":
        ordered.reverse()
    elif pick == "random":
        random.Random(seed).shuffle(ordered)
    sizes = [p.parameters for p in ordered]
    taken = fill(sizes, share * total) if sizes else None
    if taken is None:
        near = _nearest(sizes, share * total) / total
        raise UsageError(
            f"no set of this model's {len(sizes)} projections comes within {TOLERANCE:.0%} of {share:.4%} of its"
            f" parameters; the nearest share that was found is {near:.4%}; use that one"
        )
    return Choice(pick, share, total, tuple(ordered[i] for i in taken), by, among)


def fill(sizes: Sequence[int], budget: float, tolerance: float = TOLERANCE) -> list[int] | None:
    """Return the first subset, in the order given, whose sum is within `tolerance * budget` of the budget.

    A subset-sum table over the rest of the order decides whether a size can be taken: bit s of `reach[i]` says that
    some subset of sizes[i:] adds up to s units.  The unit is the greatest common divisor of the sizes.  If that makes
    the table too large, sizes are rounded to a larger unit, and the window is narrowed by the largest possible sum of
    rounding errors.

    Returns:
        Positions of the sizes taken, or None if no subset is known to fit.
    """
    step = reduce(math.gcd, sizes)
    unit = max(step, int(tolerance * budget / (4 * len(sizes))))
    slack = len(sizes) / 2 if unit > step else 0.0
    units = [round(size / unit) for size in sizes]
    low = max(1, math.ceil(budget * (1 - tolerance) / unit + slack))
    high = math.floor(budget * (1 + tolerance) / unit - slack)
    if high < low:
        return None
    limit = (1 << (high + 1)) - 1
    reach = [1]
    for size in reversed(units):
        reach.append((reach[-1] | reach[-1] << size) & limit)
    reach.reverse()
    window = limit ^ ((1 << low) - 1)

    def can_finish(used: int, position: int) -> bool:
        return used <= high and bool(reach[position] << used & window)

    if not can_finish(0, 0):
        return None
    taken, used = [], 0
    for i, size in enumerate(units):
        if low <= used:
            break
        if can_finish(used + size, i + 1):
            taken.append(i)
            used += size
    return taken


def _nearest(sizes: Sequence[int], budget: float) -> int:
    """Return the sum nearest to the budget that `fill` can reach with some larger tolerance."""
    for percent in range(2, 100):
        if taken := fill(sizes, budget, percent / 100):
            return sum(sizes[i] for i in taken)
    return min(sizes, default=0)


def parse_share(text: str) -> float:
    """Return the share that "10%" or "0.1" names: 0.1.

    Raises:
        UsageError: the text is not a number, or a number above 1 without a percent sign.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UsageError(f"'{text}' is not a share of the parameters; say 10% or 0.1")
    return value
