"""How stable a selection is: under resampling of the items, between halves of them, between sets, and over thresholds.

Nothing here needs the model; selections go through the rules that made the set.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.selection.general import general_difference, select_general
from culnig.selection.pools import Pool
from culnig.selection.specific import group_difference, select_specific
from culnig.selection.sweep import sweep_general
from culnig.statistics.agreement import rank_correlation
from culnig.statistics.overlap import chance_jaccard

Weights = dict[str, np.ndarray]
"""SiteLocation (neur, ctrl, crc, ability) -> how often each of its blocks was drawn."""


@dataclass
class Stability:
    """Selections from resampled items.

    Attributes:
        chosen: the set from all items.
        sets: one a bootstrap resample.
        halves: pairs of sets, each from one half of the items.
        table: a row a resample or pair: `kind` (bootstrap: against the set of all items; half: one half against the other),
            size, other_size, jaccard, chance (the Jaccard expected of two random sets of these sizes), rank_all and
            rank_chosen (Spearman's rank correlation of D over all neurons of the pools, and, for a bootstrap, over the set
            from all items; not over the two sets' union, where being in one set but not in the other pulls it below 0).
        paired: whether neur and ctrl were resampled together.
    """

    chosen: NeuronSet
    sets: list[NeuronSet] = field(default_factory=list)
    halves: list[tuple[NeuronSet, NeuronSet]] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    paired: bool = True

    def frequency(self) -> pd.DataFrame:
        """`selection_frequency` of the bootstrap's sets."""
        return selection_frequency(self.sets, self.chosen)


def bootstrap_general(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    ability: Scores | None = None,
    resamples: int = 200,
    halves: int = 20,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **rule: Any,
) -> Stability:
    """Select culture-general neurons again from resampled blocks of items.

    A bootstrap resample draws as many blocks as there are, with replacement; a half draws half of them without, and the
    other half is its partner.  neur and ctrl are resampled together where their blocks have the same counts, since they
    are the same items with and without the question; else apart.

    Args:
        neur, ctrl, crc, ability: scores with per-block sums, as `select_general` takes them.
        resamples: bootstrap resamples.
        halves: random splits into halves.
        seed: seed of the draws.
        progress: called with 1 after each resample and each split.
        **rule: thresholds and preset, as for `select_general`.

    Raises:
        UsageError: a part without per-block sums, nothing to do, or as `select_general`.
    """
    parts = {"neur": neur, "ctrl": ctrl, "crc": crc} | ({"ability": ability} if ability else {})
    return reselect(_Selector(parts, rule), parts, resamples=resamples, halves=halves, seed=seed, progress=progress)


def bootstrap_specific(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    resamples: int = 200,
    halves: int = 20,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **rule: Any,
) -> dict[str, Stability]:
    """Select culture-specific neurons again from resampled blocks of items; all countries share a resample.

    Blocks are drawn as by `bootstrap_general`.  A draw that leaves a country without items is drawn again.

    Args:
        neur, ctrl, crc: scores with sums by block and group, as `select_specific` takes them.
        resamples, halves, seed, progress: as for `bootstrap_general`.
        **rule: thresholds, preset and countries, as for `select_specific`.

    Returns:
        Country -> its selections.

    Raises:
        UsageError: a part without sums by block and group, nothing to do, blocks so few that a country is always
            missing from some draw, or as `select_specific`.
    """
    parts = {"neur": neur, "ctrl": ctrl, "crc": crc}
    for name, part in parts.items():
        if part.group_block_count is None:
            raise UsageError(
                f"the {name} scores hold no sums by block and group; score them again with --blocks 20 --block-groups"
            )

    def select(weights: Weights) -> dict[str, Selection]:
        drawn = {name: part.of_group_blocks(weights[name]) for name, part in parts.items()}
        sets = select_specific(drawn["neur"], drawn["ctrl"], drawn["crc"], **rule)
        pool = Pool(drawn["neur"], MLP_POOL + ATTENTION_POOL)
        difference = group_difference(pool, drawn["neur"], drawn["ctrl"], rule.get("preset", "corrected"))
        index = drawn["neur"].groups.index
        return {
            country: Selection(chosen, {"all": difference[index(country)]}, {"all": pool})
            for country, chosen in sets.items()
        }

    def usable(weights: Weights) -> bool:
        return all((weights[name] @ part.group_block_count > 0).all() for name, part in parts.items())

    return reselect_all(select, parts, usable=usable, resamples=resamples, halves=halves, seed=seed, progress=progress)


def reselect(select: Callable[[Weights], Selection], parts: Mapping[str, Scores], **draws: Any) -> Stability:
    """`reselect_all` for a rule that makes one set."""
    return reselect_all(lambda weights: {"": select(weights)}, parts, **draws)[""]


def reselect_all(
    select: Callable[[Weights], dict[str, Selection]],
    parts: Mapping[str, Scores],
    *,
    usable: Callable[[Weights], bool] = lambda weights: True,
    resamples: int,
    halves: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Stability]:
    """Select from resampled blocks, whatever the rule.

    Args:
        select: block weights of every part -> the selections, by name.
        parts: scores with per-block sums, neur and ctrl among them.
        usable: whether something can be selected from such weights; others are drawn again.
        resamples, halves, seed, progress: see `bootstrap_general`.

    Raises:
        UsageError: fewer than two blocks in a part, nothing to do, or no usable draw.
    """
    for name, part in parts.items():
        if part.block_count is None or len(part.block_count) < 2:
            raise UsageError(f"the {name} scores hold no sums by block of items; score them again with --blocks 20")
    if resamples < 0 or halves < 0 or not resamples + halves:
        raise UsageError("nothing to do: give a number of resamples or of splits")
    paired = np.array_equal(_counts(parts["neur"]), _counts(parts["ctrl"]))
    rng = np.random.default_rng(seed)
    whole = select({name: np.ones(len(_counts(part)), dtype=int) for name, part in parts.items()})
    made = {name: Stability(each.chosen, paired=paired) for name, each in whole.items()}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in whole}
    for _ in range(resamples):
        [weights] = _usable(lambda: [_resample(parts, rng, paired)], usable)
        for name, one in select(weights).items():
            made[name].sets.append(one.chosen)
            rows[name].append({"kind": "bootstrap"} | _agreement(one, whole[name], whole[name].chosen))
        if progress:
            progress(1)
    for _ in range(halves):
        first, second = (select(each) for each in _usable(lambda: _split(parts, rng, paired), usable))
        for name, stability in made.items():
            stability.halves.append((first[name].chosen, second[name].chosen))
            agreement = _agreement(first[name], second[name], stability.chosen)
            # Two halves add up to the whole that chose the neurons: that alone pulls a correlation over them below 0.
            rows[name].append({"kind": "half"} | agreement | {"rank_chosen": float("nan")})
        if progress:
            progress(1)
    for name, stability in made.items():
        stability.table = pd.DataFrame(rows[name])
    return made


def _usable(draw: Callable[[], Sequence[Weights]], usable: Callable[[Weights], bool]) -> Sequence[Weights]:
    """The first of 100 draws all of whose weights are usable."""
    for _ in range(100):
        drawn = draw()
        if all(map(usable, drawn)):
            return drawn
    raise UsageError(
        "100 draws of blocks in a row each left a country without items; score more items of every country, or leave"
        " out countries with few"
    )


@dataclass(frozen=True)
class Selection:
    """A set, and what its neurons were ranked by."""

    chosen: NeuronSet
    difference: dict[str, np.ndarray]
    """Pool name -> D, [pool size]."""
    pools: dict[str, Pool]


class _Selector:
    """Block weights -> the selection that the rule makes of them."""

    def __init__(self, parts: Mapping[str, Scores], rule: dict[str, Any]) -> None:
        self.parts = parts
        self.rule = rule

    def __call__(self, weights: Weights) -> Selection:
        scores = {name: part.of_blocks(weights[name]) for name, part in self.parts.items()}
        chosen = select_general(
            scores["neur"], scores["ctrl"], scores["crc"], ability=scores.get("ability"), **self.rule
        )
        pools = {"mlp": Pool(scores["neur"], MLP_POOL), "attention": Pool(scores["neur"], ATTENTION_POOL)}
        preset = self.rule.get("preset", "corrected")
        difference = {
            name: general_difference(pool, scores["neur"], scores["ctrl"], preset) for name, pool in pools.items()
        }
        return Selection(chosen, difference, pools)


def _counts(scores: Scores) -> np.ndarray:
    """Prompts in each block."""
    assert scores.block_count is not None
    return scores.block_count


def _resample(parts: Mapping[str, Scores], rng: np.random.Generator, paired: bool) -> Weights:
    sizes = {name: len(_counts(part)) for name, part in parts.items()}
    weights = {name: np.bincount(rng.integers(k, size=k), minlength=k) for name, k in sizes.items()}
    return weights | ({"ctrl": weights["neur"]} if paired else {})


def _split(parts: Mapping[str, Scores], rng: np.random.Generator, paired: bool) -> tuple[Weights, Weights]:
    first = {}
    for name, part in parts.items():
        k = len(_counts(part))
        first[name] = np.zeros(k, dtype=int)
        first[name][rng.permutation(k)[: k // 2]] = 1
    if paired:
        first["ctrl"] = first["neur"]
    return first, {name: 1 - half for name, half in first.items()}


def _agreement(one: Selection, other: Selection, chosen: NeuronSet) -> dict[str, float]:
    flat = [np.concatenate(list(each.difference.values())) for each in (one, other)]
    members = list(_positions(chosen, one.pools))
    size = sum(pool.size for pool in one.pools.values())
    return {
        "size": len(one.chosen),
        "other_size": len(other.chosen),
        "jaccard": one.chosen.jaccard(other.chosen),
        "chance": chance_jaccard(len(one.chosen), len(other.chosen), size),
        "rank_all": rank_correlation(*flat),
        "rank_chosen": rank_correlation(flat[0][members], flat[1][members]),
    }


def _positions(neurons: NeuronSet, pools: Mapping[str, Pool]) -> Iterator[int]:
    """Positions of neurons in the pools laid end to end."""
    starts: dict[str, tuple[int, Pool]] = {}
    at = 0
    for pool in pools.values():
        starts |= dict.fromkeys(pool.shapes, (at, pool))
        at += pool.size
    for neuron in neurons:
        start, pool = starts[neuron.module]
        yield start + pool.position(neuron)


def jaccard_matrix(sets: Mapping[str, NeuronSet]) -> pd.DataFrame:
    """Jaccard index of every pair of sets: a symmetric table with the sets' names on both sides."""
    values = [[a.jaccard(b) for b in sets.values()] for a in sets.values()]
    return pd.DataFrame(values, index=list(sets), columns=list(sets))


def selection_frequency(sets: Sequence[NeuronSet], chosen: NeuronSet | None = None) -> pd.DataFrame:
    """How often each neuron is in the sets.

    Args:
        sets: the selections.
        chosen: a set whose members are marked, and listed even if no selection holds them.

    Returns:
        A row a neuron that is in any: module, layer, neuron, frequency (share of the sets, 0 to 1), chosen; most
        frequent first.

    Raises:
        UsageError: no sets.
    """
    if not sets:
        raise UsageError("no selections to count")
    counts: dict[Neuron, int] = dict.fromkeys(chosen or (), 0)
    for each in sets:
        for neuron in each:
            counts[neuron] = counts.get(neuron, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return pd.DataFrame(
        [
            {
                "module": neuron.module,
                "layer": neuron.layer,
                "neuron": neuron.index,
                "frequency": count / len(sets),
                "chosen": chosen is not None and neuron in chosen,
            }
            for neuron, count in ordered
        ],
        columns=["module", "layer", "neuron", "frequency", "chosen"],
    )


def size_general(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    t_mlp: Sequence[float],
    r: Sequence[float],
    attention_ratio: float = 0.2,
    ability: Scores | None = None,
    preset: str = "corrected",
) -> pd.DataFrame:
    """Size of the culture-general set against t and r; t_attn = attention_ratio * t_mlp (the paper's 0.2 % to 1 %).

    Returns:
        Columns t_mlp, t_attn, r, size.
    """
    settings = [{"t_mlp": t, "t_attn": attention_ratio * t, "r": share} for t in t_mlp for share in r]
    swept = sweep_general(neur, ctrl, crc, settings, preset=preset, ability=ability)
    return pd.DataFrame([setting | {"size": len(chosen)} for setting, (_, chosen) in zip(settings, swept, strict=True)])


def size_specific(
    neur: Scores,
    ctrl: Scores,
    crc: Scores,
    *,
    t: Sequence[float],
    r: Sequence[float],
    z: Sequence[float],
    preset: str = "corrected",
) -> pd.DataFrame:
    """Size of each country's set against t, r and z.

    Returns:
        Columns t, r, z, country, size.
    """
    rows = []
    for taken, removed, least in itertools.product(t, r, z):
        sets = select_specific(neur, ctrl, crc, preset=preset, t=taken, r=removed, z=least)
        setting = {"t": taken, "r": removed, "z": least}
        rows += [setting | {"country": country, "size": len(chosen)} for country, chosen in sets.items()]
    return pd.DataFrame(rows)
