"""Bootstrap intervals and p-values of means over units that are resampled together."""

from __future__ import annotations

import numpy as np
import pandas as pd

RESAMPLES = 4999
"""Resamples of a single comparison (BCa)."""
JOINT_RESAMPLES = 2000
"""Resamples of several comparisons that share them (percentiles)."""
CONFIDENCE = 0.95


def by_question(values: np.ndarray, questions: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the values and the number of rows of each question."""
    codes, _ = pd.factorize(questions)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(float)


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def bootstrap_ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return the BCa interval and two-sided p-value of sum(sums) / sum(counts); degenerate cases give a point.

    Infinite sums get a percentile interval, whose ends may be infinite; undefined sums (NaN) get NaN.
    """
    from scipy.stats import bootstrap

    value = float(_ratio(sums, counts))
    if np.isnan(value):
        return value, value, value
    if len(sums) < 2 or np.allclose(sums / counts, sums[0] / counts[0]):
        return value, value, 1.0 if value == 0 else 2 / (RESAMPLES + 1)
    if not np.isfinite(sums).all():
        return _infinite_ratio(sums, counts, seed)
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
    p = bootstrap_p(result.bootstrap_distribution)
    return float(result.confidence_interval.low), float(result.confidence_interval.high), p


def _infinite_ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Do as `bootstrap_ratio` if some sums are infinite, all with one sign; an interval's ends are draws themselves."""
    units = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    draws = _ratio(sums[units], counts[units])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high), bootstrap_p(draws)


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
    """
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
