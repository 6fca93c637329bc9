"""Paired differences against random draws: questions and draws are both samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from culnig.statistics.bootstrap import CONFIDENCE, bootstrap_ratio, by_question, p_floor


@dataclass(frozen=True)
class Paired:
    """A mean paired difference.

    Attributes:
        difference: the mean over rows and draws.
        low, high: ends of its 95 % interval.
        p: two-sided p-value of no difference.
        p_floor: least p-value that resampling can give here; a p that is not above it means "at most".  0 for exact tests.
        units: questions.
        draws: random draws on the other side; a single one counts as fixed.
    """

    difference: float
    low: float
    high: float
    p: float
    p_floor: float
    units: int
    draws: int


def paired(values: np.ndarray, questions: pd.Series, seed: int) -> Paired:
    """Test the mean of paired differences; see `paired_sums`.

    Args:
        values: [rows] or [rows, draws].
        questions: the question of each row.
        seed: seed of the bootstrap.
    """
    columns = values[:, None] if values.ndim == 1 else values
    parts = [by_question(column, questions) for column in columns.T]
    return paired_sums(np.stack([sums for sums, _ in parts], axis=1), parts[0][1], seed)


def paired_sums(sums: np.ndarray, counts: np.ndarray, seed: int) -> Paired:
    """Test sum(sums) / sum(counts), where the columns are differences from several random draws.

    With one draw this is `bootstrap_ratio`.  With more, the variance of the mean is V = s^2(questions) / n + s^2(draws) / K,
    and t has Welch and Satterthwaite's degrees of freedom.  The bootstrap's interval over questions is widened by the ratio
    of the two t intervals, and p is the larger one of the t-test's and that over questions.  V counts the interaction of
    question and draw twice, as the pigeonhole bootstrap does (Owen 2007), which errs on the safe side.  A bootstrap of five
    draws rejects too often, because five draws have four degrees of freedom and no resampling knows that.

    Args:
        sums: [units, draws], sums of each unit's differences.
        counts: [units], rows of each unit.
        seed: seed of the bootstrap.
    """
    from scipy.stats import t

    units, draws = sums.shape
    pooled = sums.mean(axis=1)
    low, high, p = bootstrap_ratio(pooled, counts, seed)
    value = float(pooled.sum() / counts.sum())
    floor = p_floor(units)
    if draws == 1 or units < 2 or not np.isfinite(sums).all():
        return Paired(value, low, high, p, floor, units, draws)
    by_unit = float(np.var(pooled - value * counts, ddof=1)) * units / counts.sum() ** 2
    by_draw = float(np.var(sums.sum(axis=0) / counts.sum(), ddof=1)) / draws
    variance = by_unit + by_draw
    if variance == 0:
        return Paired(value, low, high, p, floor, units, draws)
    freedom = variance**2 / (by_unit**2 / (units - 1) + by_draw**2 / (draws - 1))
    tail = (1 - CONFIDENCE) / 2
    half = t.isf(tail, freedom) * np.sqrt(variance)
    if low < high and by_unit > 0:
        wider = half / (t.isf(tail, units - 1) * np.sqrt(by_unit))
        low, high = value - max(wider, 1.0) * (value - low), value + max(wider, 1.0) * (high - value)
    else:
        low, high = value - half, value + half
    test = 2 * t.sf(abs(value) / np.sqrt(variance), freedom)
    return Paired(value, float(low), float(high), float(max(test, p)), floor, units, draws)
