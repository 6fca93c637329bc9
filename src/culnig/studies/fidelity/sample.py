"""Which neurons are suppressed: a sample by module, layer and score decile, and one of those that selection may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, widths_of
from culnig.selection.general import general_difference
from culnig.selection.pools import Pool, floor_count, top_ranked
from culnig.selection.rules import GeneralRule
from culnig.statistics.top_ranks import allocate

BINS = 10
POOLS = {"MLP": (MLP_POOL, "t_mlp"), "attention": (ATTENTION_POOL, "t_attn")}
"""Pools of selection: their modules, and the threshold that says how many neurons are taken."""
IN_FIRST_K, IN_UNION = "some method's top k", "rest of the union"


@dataclass(frozen=True)
class Sampling:
    """Which neurons and groups are suppressed.

    Attributes:
        layers: so many layers, evenly spread; None is all.
        per_cell: neurons of each score decile of each module of each layer.
        top: neurons of each pool among the union of all methods' best; a larger union is sampled.  None is all, 0 none.
        top_share: how much of a pool counts as a method's best.
        rule: the thresholds of selection, which give k.
        largest: the largest group, as a share of the neurons that a method has scored.
        groups: group sizes from 1 to the largest, on a logarithmic scale; 0 leaves groups out.
        seed: seed of the draws.
    """

    layers: int | None = None
    per_cell: int = 1
    top: int | None = 80
    top_share: float = 0.02
    rule: GeneralRule = field(default_factory=GeneralRule)
    largest: float = 0.01
    groups: int = 9
    seed: int = 0


def stratified(
    scores: Scores, modules: Sequence[str], *, layers: int | None = None, per_cell: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Draw neurons from every module, layer and tenth of the scores within it.

    Args:
        scores: scores of one method; a neuron's decile is that of its S among the neurons of its module and layer.
        modules: which modules.
        layers: so many layers, evenly spread from the first to the last; None is all.
        per_cell: neurons of each decile of each module of each layer.
        seed: seed of the draw.

    Returns:
        Columns module, layer, neuron, decile (1 the lowest, 10 the highest).

    Raises:
        UsageError: numbers that make no sense, or more neurons asked for than a cell holds.
    """
    if per_cell < 1 or (layers is not None and layers < 1):
        raise UsageError("at least one layer and one neuron a cell are needed")
    rng = np.random.default_rng(seed)
    rows = []
    for module in modules:
        widths = widths_of(scores.shapes()[module])
        having = [layer for layer, width in enumerate(widths) if width]
        if (fewest := min(widths[layer] for layer in having)) < BINS * per_cell:
            raise UsageError(
                f"{module} has {fewest} neurons a layer; {per_cell} from each tenth of them cannot be drawn"
            )
        for layer in (having[i] for i in _spread(len(having), layers)):
            order = np.argsort(scores.total(module)[layer, : widths[layer]], kind="stable")
            for decile, members in enumerate(np.array_split(order, BINS), start=1):
                drawn = rng.choice(members, size=per_cell, replace=False)
                rows += [(module, layer, int(i), decile) for i in sorted(drawn)]
    return pd.DataFrame(rows, columns=["module", "layer", "neuron", "decile"])


def _spread(depth: int, layers: int | None) -> list[int]:
    """Numbers of evenly spread layers, the first and the last among them."""
    count = depth if layers is None else min(layers, depth)
    return [int(i) for i in np.unique(np.round(np.linspace(0, depth - 1, count)).astype(int))]


def geometric(size: int, largest: float, points: int) -> list[int]:
    """Group sizes 1 ... largest * size (rounded down, 1 at least), evenly spread on a logarithmic scale."""
    top = max(1, int(np.floor(largest * size + 1e-9)))
    return [int(k) for k in np.unique(np.round(np.geomspace(1, top, max(1, points))).astype(int))]


def best_of_all(
    scores: Mapping[str, tuple[Scores, Scores | None]], how: Sampling, leave_out: Sequence[Neuron] = ()
) -> pd.DataFrame:
    """Draw from the union of all methods' best neurons of each pool, as selection ranks them.

    The union has two strata: neurons that are among some method's best k, and the others.  Both are drawn from without
    replacement, so `weight`, the size of a stratum over the number drawn, is the inverse of the inclusion probability.

    Args:
        scores: method -> its scores of the cultural items, and of their controls (None: neurons are ranked by S).
        how: the sample, with the thresholds of selection.
        leave_out: neurons that are not ranked.

    Returns:
        Columns pool, draw, weight, k, module, layer, neuron; a method that does not score a whole pool has no say there.
    """
    rng = np.random.default_rng([how.seed, 2])
    rows = []
    for name, (modules, threshold) in POOLS.items():
        pools = {
            method: Pool(neur, modules) for method, (neur, _) in scores.items() if set(modules) & set(neur.modules)
        }
        size = max((pool.size for pool in pools.values()), default=0)
        whole = {method: pool for method, pool in pools.items() if pool.size == size}
        k = floor_count(getattr(how.rule, threshold), size)
        best = max(k, floor_count(how.top_share, size))
        union, first = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        for method, pool in whole.items():
            ranked = top_ranked(_without(general_difference(pool, *scores[method], "corrected"), pool, leave_out), best)
            union, first = np.union1d(union, ranked), np.union1d(first, ranked[:k])
        if not k or not len(union):
            continue
        strata = {IN_FIRST_K: first, IN_UNION: np.setdiff1d(union, first)}
        taken = allocate((len(first), len(strata[IN_UNION])), how.top)
        pool = next(iter(whole.values()))
        for (draw, members), number in zip(strata.items(), taken, strict=True):
            for position in sorted(rng.choice(members, size=number, replace=False)):
                rows.append((name, f"{name}: {draw}", len(members) / number, k, *pool.neuron(int(position))))
    return pd.DataFrame(rows, columns=["pool", "draw", "weight", "k", "module", "layer", "neuron"])


def _without(values: np.ndarray, pool: Pool, neurons: Sequence[Neuron]) -> np.ndarray:
    """The values, with nan (no rank) for some neurons."""
    left = np.array(values, dtype=float)
    for neuron in neurons:
        if neuron.module in pool.shapes:
            left[pool.position(neuron)] = np.nan
    return left
