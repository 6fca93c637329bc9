"""Agreement of estimates with exact suppression: rank correlation and sign errors, with intervals; no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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


LeftOut = Sequence[Mapping[str, np.ndarray]]
"""For each kind of question that is drawn apart: `exact` and each method -> all neurons' values without each of its
questions, [questions, neurons]."""


def levels(
    neurons: pd.DataFrame,
    methods: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    prompts: LeftOut | None = None,
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
    prompts: LeftOut | None = None,
) -> pd.DataFrame:
    """Compute the agreement of each method's estimate with exact suppression.

    Intervals are percentiles of a bootstrap over the neurons, and over the questions if `prompts` is given.  What a resample
    of the questions adds is linear in their influences, which leaving out each of them gives (infinitesimal jackknife, Efron
    1982).  Computing the figures on resampled questions would not do: a resample repeats questions, and noise that estimate
    and exact value share makes them agree more than they do.  Every method has the same resamples, so `behind` (the best
    method's correlation minus this one's) is a paired difference.

    Args:
        neurons: one row a neuron: `exact`, a column for each method, and the columns of `by`.  Optional columns are
            `weight`, the inverse of the neuron's inclusion probability; `draw`, the stratum that it was drawn from; and
            `k`, the number that selection takes of the neurons that the group stands for (0 is none).
        methods: names of the methods' columns.
        by: columns whose values form the groups (module, layer, pool).
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.
        prompts: values without each question; None resamples neurons alone.

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


Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(estimates, exact values, weights), each [.., n] -> [..]."""


@dataclass(frozen=True)
class _Compared:
    """Estimates and exact values of one group of neurons, as they are and resampled.

    Attributes:
        values: `exact` and each method -> [n].
        weights: inverse inclusion probabilities, [n].
        draws: positions of resampled neurons, [resamples, n].
        left_out: for each kind of question, the values without each of them, [questions, n].
        shares: for each kind of question, how often a resample has each, minus 1, by their number, [resamples, questions].
    """

    values: dict[str, np.ndarray]
    weights: np.ndarray
    draws: np.ndarray
    left_out: list[dict[str, np.ndarray]]
    shares: list[np.ndarray]

    @property
    def methods(self) -> list[str]:
        return [name for name in self.values if name != "exact"]

    @classmethod
    def of(
        cls,
        part: pd.DataFrame,
        methods: Sequence[str],
        prompts: LeftOut | None,
        resamples: int,
        rng: np.random.Generator,
    ) -> _Compared:
        """Resample the rows of a part, whose index gives the columns of `prompts`."""
        strata = pd.factorize(part["draw"])[0] if "draw" in part else np.zeros(len(part), dtype=int)
        draws = drawn_within(strata, resamples, rng)
        weights = part["weight"].to_numpy(dtype=float) if "weight" in part else np.ones(len(part))
        values = {name: part[name].to_numpy(dtype=float) for name in ("exact", *methods)}
        columns = part.index.to_numpy()
        left_out = [{name: each[name][:, columns] for name in values} for each in prompts or ()]
        questions = [len(each["exact"]) for each in left_out]
        shares = [(rng.multinomial(u, np.full(u, 1 / u), size=resamples) - 1) / u for u in questions]
        return cls(values, weights, draws, left_out, shares)

    def figure(self, name: str, statistic: Statistic, least: float, most: float = 1.0) -> tuple[float, np.ndarray]:
        """Return a statistic of one method, and its resampled values within its bounds, [resamples]."""
        own, exact = self.values[name], self.values["exact"]
        value = float(statistic(own, exact, self.weights))
        found = statistic(own[self.draws], exact[self.draws], self.weights[self.draws])
        for left, shares in zip(self.left_out, self.shares, strict=True):
            without = statistic(left[name], left["exact"], np.broadcast_to(self.weights, left["exact"].shape))
            influence = np.nan_to_num((len(without) - 1) * (value - without))
            found = found + shares @ influence
        return value, np.clip(found, least, most)


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
    exact = found.values["exact"]
    rho = {name: found.figure(name, spearman, -1.0) for name in found.methods}
    best = max(rho, key=lambda name: np.nan_to_num(rho[name][0], nan=-2.0))
    edge = np.median(np.abs(exact[exact != 0]))
    rows: Figures = {}
    for name, (value, drawn) in rho.items():
        row = _with_interval("rho", value, drawn, ("low", "high"))
        row |= _with_interval("behind", rho[best][0] - value, rho[best][1] - drawn)
        for column, least in (("signs", 0.0), ("signs_large", float(edge))):
            row |= _with_interval(column, *found.figure(name, partial(_wrong_signs, least=least), 0.0))
        rows[name] = row
    return rows


def _top_agreement(found: _Compared, k: float) -> Figures:
    """Return precision at k and regret of each method, all from the same resamples."""
    precision = {name: found.figure(name, partial(precision_at, k), 0.0) for name in found.methods}
    best = max(precision, key=lambda name: precision[name][0])
    rows: Figures = {}
    for name, (value, drawn) in precision.items():
        row: dict[str, object] = {"k": int(k), "stand_for": round(float(found.weights.sum()))}
        row |= _with_interval("precision", value, drawn)
        row |= _with_interval("precision_behind", precision[best][0] - value, precision[best][1] - drawn)
        # A choice that does harm forgoes more than the best hold.
        row |= _with_interval("regret", *found.figure(name, partial(regret_at, k), 0.0, np.inf))
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
