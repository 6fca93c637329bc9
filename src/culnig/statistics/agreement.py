"""Agreement of estimates with exact suppression: rank correlation and sign errors, with intervals; no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.statistics.bootstrap import percentile_interval

RESAMPLES = 1000
FEWEST = 8
"""A rank correlation of fewer neurons is not computed."""


@dataclass(frozen=True)
class Level:
    """The neurons over which agreement is computed: all of them, or groups by columns of the rows."""

    name: str
    by: tuple[str, ...] = ()


LEVELS = (Level("all"), Level("module", ("module",)), Level("layer", ("layer",)), Level("cell", ("module", "layer")))


def levels(
    neurons: pd.DataFrame, methods: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, pd.DataFrame]:
    """Return `agreement` over all neurons, by module, by layer, and by module and layer."""
    return {level.name: agreement(neurons, methods, level.by, seed=seed, resamples=resamples) for level in LEVELS}


def agreement(
    neurons: pd.DataFrame, methods: Sequence[str], by: Sequence[str] = (), *, seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Compute the agreement of each method's estimate with exact suppression.

    Intervals are percentiles of a bootstrap over the neurons.  Every method has the same resamples, so `behind` (the
    best method's correlation minus this one's) is a paired difference.

    Args:
        neurons: one row a neuron: `exact`, a column for each method, and the columns of `by`.
        methods: names of the methods' columns.
        by: columns whose values form the groups (module, layer, decile).
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Returns:
        A row for each group and each method that scores all neurons of the group.  Its columns are those of `by`,
        method, neurons, rho (Spearman) with low and high, and behind with behind_low and behind_high (0 for the best).
        signs is the share of neurons with an effect whose estimate has another sign; signs_large is the same for the
        half with the largest effects; both have intervals.  Groups of fewer than 8 neurons, or without any variation,
        are left out.
    """
    rows = []
    for where, part in _groups(neurons, list(by)):
        complete = [name for name in methods if part[name].notna().all()]
        exact = part["exact"].to_numpy(dtype=float)
        if len(part) < FEWEST or np.ptp(exact) == 0 or not complete:
            continue
        draws = np.random.default_rng(seed).integers(len(part), size=(resamples, len(part)))
        estimates = {name: part[name].to_numpy(dtype=float) for name in complete}
        rows += [where | row for row in _compare(exact, estimates, draws)]
    return pd.DataFrame(rows)


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


def _compare(exact: np.ndarray, estimates: dict[str, np.ndarray], draws: np.ndarray) -> list[dict[str, object]]:
    """Return a row for each method, all from the same resamples."""
    rho = {name: spearman(values, exact) for name, values in estimates.items()}
    target = exact[draws]
    drawn = {name: spearman(values[draws], target) for name, values in estimates.items()}
    best = max(rho, key=lambda name: np.nan_to_num(rho[name], nan=-2.0))
    some = exact != 0
    large = some & (np.abs(exact) >= np.median(np.abs(exact[some])))
    rows: list[dict[str, object]] = []
    for name, values in estimates.items():
        wrong = np.sign(values) != np.sign(exact)
        row: dict[str, object] = {"method": name, "neurons": len(exact)}
        row |= _with_interval("rho", float(rho[name]), drawn[name], ("low", "high"))
        row |= _with_interval("behind", float(rho[best] - rho[name]), drawn[best] - drawn[name])
        for column, mask in (("signs", some), ("signs_large", large)):
            row |= _with_interval(column, float(wrong[mask].mean()), _share(wrong, mask, draws))
        rows.append(row)
    return rows


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation along the last axis; NaN without variation."""
    from scipy.stats import rankdata

    x, y = (rankdata(values, axis=-1) for values in (a, b))
    x, y = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))


def _share(wrong: np.ndarray, mask: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share of the masked neurons that are wrong, in every resample."""
    counted = mask[draws].sum(axis=1)
    return np.divide((wrong & mask)[draws].sum(axis=1), counted, out=np.full(len(draws), np.nan), where=counted > 0)


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
