"""Intervals and p-values of means over units that are resampled together; exact tests where the units are few."""

from __future__ import annotations

import numpy as np
import pandas as pd

RESAMPLES = 4999
"""Resamples of a single comparison (BCa)."""
JOINT_RESAMPLES = 2000
"""Resamples of several comparisons that share them (percentiles)."""
CONFIDENCE = 0.95
EXACT = 20
"""Units up to which a p-value is that of the exact sign-flip test, not of a bootstrap."""

MOST_UNITS = 10_000
"""Units that are resampled one by one; more are first pooled at random."""
POOLS = 5_000
"""Pools of more units: an interval's width is then known to 1 %."""


def by_question(values: np.ndarray, questions: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the values and the number of rows of each question."""
    codes, _ = pd.factorize(questions)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(float)


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def pooled(rng: np.random.Generator, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return arrays with their rows summed in `POOLS` random pools of equal size, if there are more than `MOST_UNITS` rows.

    Pools of independent units are independent too, so resampling them gives the same intervals, at a cost that does not
    grow with the number of units.

    Args:
        rng: source of the pools; not used where nothing is pooled.
        arrays: float64 [units] or [units, C], all of the same units.
    """
    units = len(arrays[0])
    if units <= MOST_UNITS:
        return arrays
    order = rng.permutation(units)
    begins = np.linspace(0, units, POOLS, endpoint=False).astype(np.int64)
    return tuple(np.add.reduceat(array[order], begins, axis=0) for array in arrays)


def rounding(*values: np.ndarray) -> float:
    """Return the difference below which two numbers of this size count as equal.

    It is the square root of float64's epsilon (1.5e-8) times the largest magnitude.  That is far above what rounding
    leaves in sums of many terms, and below float32's resolution, in which models compute.
    """
    largest = max((float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for v in map(np.asarray, values)), default=0.0)
    return float(np.sqrt(np.finfo(float).eps)) * largest


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a - b, with 0 where they differ by rounding alone."""
    with np.errstate(invalid="ignore"):  # infinity minus itself: undefined
        found = a - b
    return np.where(np.abs(found) <= rounding(a, b), 0.0, found)


def p_floor(units: int) -> float:
    """Return the least p-value that `bootstrap_ratio` can give for so many units; 0 where its test is exact."""
    return 2 / (RESAMPLES + 1) if units > EXACT else 0.0


def sign_flip_p(sums: np.ndarray) -> float:
    """Return the two-sided p-value of the exact sign-flip test: would other signs make the sum as large?

    All 2^n signs count, put together from two halves.  NaN below two units, where no test is possible; 1 if all are 0.
    """
    if len(sums) < 2:
        return float("nan")
    changed = sums[sums != 0]
    if not len(changed):
        return 1.0
    first, second = (_signed_sums(half) for half in np.array_split(changed, 2))
    second.sort()
    least = abs(changed.sum()) - 1e-12 * np.abs(changed).sum()
    above = len(second) - np.searchsorted(second, least - first, side="left")
    return float(min(1.0, 2 * above.sum() / 2 ** len(changed))) if least > 0 else 1.0


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """Return the sums of the values under all their signs, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def bootstrap_ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return the BCa interval and two-sided p-value of sum(sums) / sum(counts).

    Up to `EXACT` units p is that of the exact sign-flip test.  One unit has neither interval nor p (NaN).  Units that are
    all alike have a point as their interval.  Infinite sums get a percentile interval, whose ends may be infinite;
    undefined sums (NaN) get NaN.  More than `MOST_UNITS` units are pooled first (`pooled`).
    """
    from scipy.stats import bootstrap

    value = float(_ratio(sums, counts))
    nan = float("nan")
    if np.isnan(value) or len(sums) < 2:
        return nan, nan, nan
    sums, counts = pooled(np.random.default_rng((seed, len(sums))), sums, counts)
    if not np.isfinite(sums).all():
        return _infinite_ratio(sums, counts, seed)
    exact = sign_flip_p(sums) if len(sums) <= EXACT else None
    if np.ptp(sums / counts) <= rounding(sums / counts):
        return value, value, exact if exact is not None else 1.0 if value == 0 else p_floor(len(sums))
    result = bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=512,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    p = bootstrap_p(result.bootstrap_distribution) if exact is None else exact
    return float(result.confidence_interval.low), float(result.confidence_interval.high), p


def _infinite_ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Do as `bootstrap_ratio` if some sums are infinite, all with one sign; an interval's ends are draws themselves."""
    units = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    draws = _ratio(sums[units], counts[units])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    if len(sums) > EXACT:
        return float(low), float(high), bootstrap_p(draws)
    most = 1e9 * max(1.0, np.abs(sums[np.isfinite(sums)]).max(initial=0.0))  # stands for infinity: it decides alone
    return float(low), float(high), sign_flip_p(np.clip(sums, -most, most))


def joint_bootstrap(
    sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, resamples: int = JOINT_RESAMPLES
) -> np.ndarray:
    """Return resampled ratios sum(sums) / sum(counts) of several conditions, float64 [resamples, C].

    All conditions share the same resamples of the units, so any two of them can be compared in pairs.

    Args:
        sums: [units, C], each unit's sum under each condition.
        counts: [units], rows of each unit.
        rng: source of the resamples.
        resamples: the number of resamples.

    More than `MOST_UNITS` units are pooled first (`pooled`).
    """
    sums, counts = pooled(rng, sums, counts)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    return (weights @ sums) / (weights @ counts)[:, None]


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled values without NaNs; NaN if no value is finite."""
    if not np.isfinite(draws).any():
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_p(draws: np.ndarray) -> float:
    """Return the two-sided bootstrap p-value of no difference: twice the smaller tail beyond 0, with one draw added."""
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))
