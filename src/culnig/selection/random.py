"""Random controls: as many neurons as a set has, from the same pools or from the same sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet, check_belongs, widths_of

HOW = ("matched", "uniform", "pool", "whole", "norm")
BINS = 10


def select_random(
    like: NeuronSet,
    shapes: Mapping[str, tuple[int, int]],
    *,
    how: str = "matched",
    seed: int = 0,
    norms: Mapping[str, np.ndarray] | None = None,
    bins: int = BINS,
) -> NeuronSet:
    """Draw a random control for a set.

    Args:
        like: the set to match; its neurons are never drawn, but with "pool" and "whole".
        shapes: module -> (L, N) of the model (`lm.shapes` or `Scores.shapes()`).
        how: "matched" draws as many from the same module and layer; "uniform" as many from the same pool (gate; or
            q, k, v together); "pool" likewise, the set's own neurons included; "whole" as many from gate, q, k and v
            in one pool, the set's own included, as the published code does; "norm" as many from the same module, layer
            and quantile of `norms`, so that the control silences neurons that are as active.
        seed: seed of the draw.
        norms: for "norm": module -> [L, N], how active each neuron is (its activation norm, or any other measure: only
            the order within a layer counts).
        bins: for "norm": quantile bins of equal size within a module's layer.

    Raises:
        UsageError: an unknown `how`, an empty set, norms that are missing or of another shape, or a place with too few
            neurons left to draw from.
    """
    if how not in HOW:
        raise UsageError(f"unknown kind of random control '{how}'; there are {', '.join(HOW)}")
    if not len(like):
        raise UsageError("the set to match is empty; there is nothing to draw")
    check_belongs(like, shapes, "the scores' model")
    strata = _norm_strata(like, shapes, norms, bins) if how == "norm" else _site_strata(like, shapes, how)
    rng = np.random.default_rng(seed)
    drawn: list[Neuron] = []
    for place, members in strata:
        taken = sum(neuron in like for neuron in members)
        free = members if how in ("pool", "whole") else [neuron for neuron in members if neuron not in like]
        if len(free) < taken:
            fewer = "; use fewer bins" if how == "norm" else ""
            raise UsageError(f"only {len(free)} other neurons to draw {taken} from in {place}{fewer}")
        drawn += [free[i] for i in sorted(rng.choice(len(free), size=taken, replace=False))]
    provenance = {"kind": f"random, {how}", "seed": seed, "like": like.provenance.get("kind", "")}
    if how == "norm":
        provenance["bins"] = bins
    return NeuronSet(drawn, model_name=like.model_name, provenance=provenance, expert_widths=like.expert_widths)


def _site_strata(
    like: NeuronSet, shapes: Mapping[str, tuple[int, int]], how: str
) -> Iterator[tuple[str, list[Neuron]]]:
    """(name, neurons) of the places within which a neuron may be exchanged for another."""
    for sites in _strata(like, shapes, how):
        name = (
            f"{min(sites)[0]}, layer {min(sites)[1]}"
            if how == "matched"
            else " and ".join(sorted({m for m, _ in sites}))
        )
        # Sorted: the order of a set of names differs from process to process.
        yield name, [Neuron(*site, i) for site in sorted(sites) for i in range(widths_of(shapes[site[0]])[site[1]])]


def _norm_strata(
    like: NeuronSet, shapes: Mapping[str, tuple[int, int]], norms: Mapping[str, np.ndarray] | None, bins: int
) -> Iterator[tuple[str, list[Neuron]]]:
    """(name, neurons) of each quantile bin of each site that the set has neurons in.

    Ranks within the site are cut into bins of equal size; ties in norm are ranked by index.
    """
    if norms is None:
        raise UsageError("controls matched by norm need norms: module -> [layers, neurons]")
    if bins < 1:
        raise UsageError(f"{bins} bins make no sense; give at least 1")
    for site in like.by_site():
        if site.module not in norms:
            raise UsageError(f"there are no norms of {site.module}; there are of {', '.join(norms) or 'none'}")
        values, shape = np.asarray(norms[site.module]), shapes[site.module]
        if values.shape != tuple(shape):
            raise UsageError(
                f"the norms of {site.module} are {values.shape}, the scores {tuple(shape)} (layers, neurons)"
            )
        row = values[site.layer, : widths_of(shape)[site.layer]]
        if not np.isfinite(row).all():
            raise UsageError(f"the norms of {site.module}, layer {site.layer}, hold values that are not finite")
        ranks = np.argsort(np.argsort(row, kind="stable"), kind="stable")
        bin_of = ranks * bins // len(row)
        for b in np.unique(bin_of):
            name = f"{site.module}, layer {site.layer}, quantile {b + 1} of {bins}"
            yield name, [Neuron(*site, int(i)) for i in np.flatnonzero(bin_of == b)]


def _strata(like: NeuronSet, shapes: Mapping[str, tuple[int, int]], how: str) -> list[set[tuple[str, int]]]:
    """The sets of sites within which a neuron may be exchanged for another."""
    if how == "matched":
        return [{site} for site in like.by_site()]
    modules = {neuron.module for neuron in like}
    strata = []
    pools = ((*MLP_POOL, *ATTENTION_POOL),) if how == "whole" else (MLP_POOL, ATTENTION_POOL)
    for pool in (*pools, *((m,) for m in modules - {*MLP_POOL, *ATTENTION_POOL})):
        if modules & set(pool):
            strata.append({(m, layer) for m in pool if m in shapes for layer in range(shapes[m][0])})
    return strata
