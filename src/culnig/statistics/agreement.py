"""Agreement of estimates with exact suppression: rank correlation and sign errors, with intervals; no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.statistics.bootstrap import percentile_interval
from culnig.statistics.top_ranks import drawn_within, precision_at, regret_at

RESAMPLES = 1000
FEWEST = 8
"""A rank correlation of fewer neurons is not computed."""


@dataclass(frozen=True)
class Level:
    """The neurons over which agreement is computed: all of them, or groups by columns of the rows."""

    name: str
    by: tuple[str, ...] = ()


LEVELS = (Level("all"), Level("module", ("module",)), Level("layer", ("layer",)), Level("cell", ("module", "layer")))


Resampled = Mapping[str, np.ndarray]
"""`exact` and each method -> its values of all neurons under the same resamples of the prompts, [resamples, neurons]."""


def levels(
    neurons: pd.DataFrame,
    methods: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    prompts: Resampled | None = None,
) -> dict[str, pd.DataFrame]:
    """Return `agreement` over all neurons, by module, by layer, and by module and layer."""
    return {
        level.name: agreement(neurons, methods, level.by, seed=seed, resamples=resamples, prompts=prompts)
        for level in LEVELS
    }


def agreement(
    neurons: pd.DataFrame,
    methods: Sequence[str],
    by: Sequence[str] = (),
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    prompts: Resampled | None = None,
) -> pd.DataFrame:
    """Compute the agreement of each method's estimate with exact suppression.

    Intervals are percentiles of a bootstrap over the neurons, and over the prompts if `prompts` is given.  Every method
    has the same resamples, so `behind` (the best method's correlation minus this one's) is a paired difference.

    Args:
        neurons: one row a neuron: `exact`, a column for each method, and the columns of `by`.  Optional columns are
            `weight`, the inverse of the neuron's inclusion probability; `draw`, the stratum that it was drawn from; and
            `k`, the number that selection takes of the neurons that the group stands for (0 is none).
        methods: names of the methods' columns.
        by: columns whose values form the groups (module, layer, pool).
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.
        prompts: values under `resamples` resamples of the prompts; None resamples neurons alone.

    Returns:
        A row for each group and each method that scores all neurons of the group.  Its columns are those of `by`,
        method, neurons, rho (Spearman, weighted) with low and high, and behind with behind_low and behind_high (0 for
        the best).  signs is the share of neurons with an effect whose estimate has another sign; signs_large is the same
        for the half with the largest effects; both have intervals.  With `k` there are precision (the share of the
        method's k best that are among the exact k best) and regret (the exact value that they forgo, as a share), both
        with intervals, and precision_behind, the best precision minus this one's.  Groups of fewer than 8 neurons, or
        without any variation, are left out.
    """
    rows = []
    for where, part in _groups(neurons.reset_index(drop=True), list(by)):
        complete = [name for name in methods if part[name].notna().all()]
        exact = part["exact"].to_numpy(dtype=float)
        if len(part) < FEWEST or np.ptp(exact) == 0 or not complete:
            continue
        compared = _Compared.of(part, complete, prompts, resamples, np.random.default_rng(seed))
        measured = [_rank_agreement(compared)]
        if "k" in part and part["k"].iloc[0] > 0:
            measured.append(_top_agreement(compared, float(part["k"].iloc[0])))
        for name in complete:
            row: dict[str, object] = {"method": name, "neurons": len(part)}
            rows.append(where | row | {column: value for found in measured for column, value in found[name].items()})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Compared:
    """Estimates and exact values of one group of neurons, as they are and resampled.

    Attributes:
        values: `exact` and each method -> [n].
        drawn: the same -> [resamples, n].
        weights, drawn_weights: inverse inclusion probabilities, [n] and [resamples, n].
    """

    values: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]
    weights: np.ndarray
    drawn_weights: np.ndarray

    @property
    def methods(self) -> list[str]:
        return [name for name in self.values if name != "exact"]

    @classmethod
    def of(
        cls,
        part: pd.DataFrame,
        methods: Sequence[str],
        prompts: Resampled | None,
        resamples: int,
        rng: np.random.Generator,
    ) -> _Compared:
        """Resample the rows of a part, whose index gives the columns of `prompts`."""
        strata = pd.factorize(part["draw"])[0] if "draw" in part else np.zeros(len(part), dtype=int)
        draws = drawn_within(strata, resamples, rng)
        weights = part["weight"].to_numpy(dtype=float) if "weight" in part else np.ones(len(part))
        values = {name: part[name].to_numpy(dtype=float) for name in ("exact", *methods)}
        columns = part.index.to_numpy()

        def resampled(name: str) -> np.ndarray:
            if prompts is None:
                return values[name][draws]
            return np.take_along_axis(prompts[name][:, columns], draws, axis=1)

        return cls(values, {name: resampled(name) for name in values}, weights, weights[draws])


def statement(table: pd.DataFrame, reference: str) -> tuple[list[str], list[str], list[str]]:
    """Sort the groups by a method's rank: best, level with the best (the interval of `behind` holds 0), or behind it.

    Args:
        table: the result of `agreement` for a single column.
        reference: the method.

    Returns:
        (best, level, behind), each a list of the groups' names.
    """
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for _, row in table[table["method"] == reference].iterrows():
        place = 0 if row["behind"] == 0 else 1 if row["behind_low"] <= 0 else 2
        found[place].append(str(row.iloc[0]))
    return found


def _groups(rows: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    if not by:
        yield {}, rows
        return
    for values, part in rows.groupby(by, sort=False):
        yield dict(zip(by, values, strict=True)), part


Figures = dict[str, dict[str, object]]
"""Method -> column -> number."""


def _rank_agreement(found: _Compared) -> Figures:
    """Return rank correlations and sign errors of each method, all from the same resamples."""
    exact, target = found.values["exact"], found.drawn["exact"]
    rho = {name: spearman(found.values[name], exact, found.weights) for name in found.methods}
    drawn = {name: spearman(found.drawn[name], target, found.drawn_weights) for name in found.methods}
    best = max(rho, key=lambda name: np.nan_to_num(rho[name], nan=-2.0))
    edge = np.median(np.abs(exact[exact != 0]))
    rows: Figures = {}
    for name in found.methods:
        row = _with_interval("rho", float(rho[name]), drawn[name], ("low", "high"))
        row |= _with_interval("behind", float(rho[best] - rho[name]), drawn[best] - drawn[name])
        for column, least in (("signs", 0.0), ("signs_large", edge)):
            share = _wrong_signs(found.values[name], exact, found.weights, least)
            shares = _wrong_signs(found.drawn[name], target, found.drawn_weights, least)
            row |= _with_interval(column, float(share), shares)
        rows[name] = row
    return rows


def _top_agreement(found: _Compared, k: float) -> Figures:
    """Return precision at k and regret of each method, all from the same resamples."""
    exact, target = found.values["exact"], found.drawn["exact"]
    precision = {n: float(precision_at(k, found.values[n], exact, found.weights)) for n in found.methods}
    drawn = {n: precision_at(k, found.drawn[n], target, found.drawn_weights) for n in found.methods}
    best = max(precision, key=lambda name: precision[name])
    rows: Figures = {}
    for name in found.methods:
        row: dict[str, object] = {"k": int(k), "stand_for": round(float(found.weights.sum()))}
        row |= _with_interval("precision", precision[name], drawn[name])
        row |= _with_interval("precision_behind", precision[best] - precision[name], drawn[best] - drawn[name])
        regret = float(regret_at(k, found.values[name], exact, found.weights))
        row |= _with_interval("regret", regret, regret_at(k, found.drawn[name], target, found.drawn_weights))
        rows[name] = row
    return rows


def spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Spearman's rank correlation along the last axis, weighted if so asked; NaN without variation."""
    w = np.ones_like(np.asarray(a, dtype=float)) if weights is None else np.broadcast_to(weights, np.shape(a))
    total = w.sum(axis=-1, keepdims=True)
    x, y = (_ranks(np.asarray(values, dtype=float), w) for values in (a, b))
    x, y = (ranks - (w * ranks).sum(axis=-1, keepdims=True) / total for ranks in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w * x * y).sum(axis=-1) / np.sqrt((w * x * x).sum(axis=-1) * (w * y * y).sum(axis=-1))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted ranks along the last axis: the weight below, and half of that of equal values (itself included)."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    up_to = np.cumsum(np.take_along_axis(weights, order, axis=-1), axis=-1)
    below = np.concatenate([np.zeros_like(up_to[..., :1]), up_to[..., :-1]], axis=-1)
    edge = np.diff(ordered, axis=-1) != 0
    outer = np.ones_like(edge[..., :1])
    start = np.maximum.accumulate(np.where(np.concatenate([outer, edge], axis=-1), below, -np.inf), axis=-1)
    stop = np.where(np.concatenate([edge, outer], axis=-1), up_to, np.inf)
    stop = np.flip(np.minimum.accumulate(np.flip(stop, axis=-1), axis=-1), axis=-1)
    ranks = np.empty_like(start)
    np.put_along_axis(ranks, order, (start + stop) / 2, axis=-1)
    return ranks


def _wrong_signs(estimate: np.ndarray, exact: np.ndarray, weights: np.ndarray, least: float) -> np.ndarray:
    """Return the weighted share of wrong signs among exact effects of at least so much, along the last axis."""
    counted = weights * ((exact != 0) & (np.abs(exact) >= least))
    total = counted.sum(axis=-1)
    wrong = (counted * (np.sign(estimate) != np.sign(exact))).sum(axis=-1)
    return np.divide(wrong, total, out=np.full(np.shape(total), np.nan), where=total > 0)


def _with_interval(
    name: str, value: float, draws: np.ndarray, ends: tuple[str, str] | None = None
) -> dict[str, object]:
    low, high = percentile_interval(draws)
    first, second = ends or (f"{name}_low", f"{name}_high")
    return {name: value, first: low, second: high}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation of two equally shaped arrays; NaN below 3 values or without variation."""
    if np.shape(a) != np.shape(b):
        raise UsageError(f"score arrays of different shapes: {np.shape(a)} and {np.shape(b)}")
    if np.size(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearman(np.ravel(a), np.ravel(b)))
