"""Means and paired differences with bootstrap intervals.

Rows of one question (its option draws and wordings) are resampled together, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation._result import EvalResult

RESAMPLES = 4999
CONFIDENCE = 0.95
KEYS = ["benchmark", "id", "wording"]
"""What identifies a row."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval.

    Attributes:
        value: the mean.
        low, high: ends of the 95 % interval.
        questions: independent units resampled.
        rows: rows averaged.
    """

    value: float
    low: float
    high: float
    questions: int
    rows: int


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two conditions on the same rows.

    Attributes:
        metric: which column was compared.
        a, b: means of the two sides.
        difference: a - b.
        low, high: ends of the 95 % interval of the difference (BCa bootstrap over questions).
        p: two-sided bootstrap p-value of no difference.
        questions, rows: independent units, and rows.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    questions: int
    rows: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def question_of(rows: pd.DataFrame) -> pd.Series:
    """The unit of resampling of each row: its id without the number of the option draw."""
    suffix = "/" + rows["variant"].astype(str)
    cut = [
        name[: -len(s)] if len(s) > 1 and name.endswith(s) else name
        for name, s in zip(rows["id"].astype(str), suffix, strict=True)
    ]
    return rows["benchmark"].astype(str) + "/" + pd.Series(cut, index=rows.index)


def estimate(result: EvalResult, metric: str = "correct", *, seed: int = 0) -> Estimate:
    """Mean of a metric with its interval."""
    values = result.values(metric)
    sums, counts = by_question(values, question_of(result.rows))
    low, high, _ = bootstrap_ratio(sums, counts, seed)
    return Estimate(float(values.mean()), low, high, len(counts), len(values))


def compare(
    a: EvalResult, b: EvalResult | Sequence[EvalResult], metric: str = "correct", *, seed: int = 0
) -> Comparison:
    """Compare two conditions item by item.

    Args:
        a: one condition.
        b: the other, or several (random controls), whose rows are averaged first.
        metric: correct, correct_among_options, p_gold, log_odds, alignment (items on a scale), or one of those that
            `EvalResult.values` derives.
        seed: seed of the bootstrap.

    Raises:
        UsageError: an unknown metric, or results of different items.
    """
    others = [b] if isinstance(b, EvalResult) else list(b)
    if not others:
        raise UsageError("nothing to compare with")
    left = a.values(metric)
    right = np.mean([aligned(a, other).values(metric) for other in others], axis=0)
    sums, counts = by_question(left - right, question_of(a.rows))
    low, high, p = bootstrap_ratio(sums, counts, seed)
    mean_a, mean_b = float(left.mean()), float(right.mean())
    return Comparison(metric, mean_a, mean_b, mean_a - mean_b, low, high, p, len(counts), len(left))


def compare_by(
    a: EvalResult, b: EvalResult | Sequence[EvalResult], column: str, metric: str = "correct", *, seed: int = 0
) -> pd.DataFrame:
    """`compare` within each value of a column (country, topic, benchmark): one row a value.

    Raises:
        UsageError: no such column, or as `compare`.
    """
    others = [b] if isinstance(b, EvalResult) else list(b)
    if column not in a.rows:
        raise UsageError(f"no column '{column}' to compare by; there are {', '.join(a.rows.columns)}")
    rows = []
    for value in sorted(a.rows[column].unique()):
        part = compare(subset(a, column, value), [subset(other, column, value) for other in others], metric, seed=seed)
        rows.append({column: value, **part.to_dict()})
    return pd.DataFrame(rows)


def subset(result: EvalResult, column: str, value: object) -> EvalResult:
    """The rows with one value of a column."""
    return EvalResult(result.rows[result.rows[column] == value], result.meta)


def restrict(b: EvalResult, a: EvalResult) -> EvalResult:
    """The rows of b whose items are in a (a condition may be evaluated on a part of the items)."""
    keys = pd.MultiIndex.from_frame(a.rows[KEYS])
    return EvalResult(b.rows[pd.MultiIndex.from_frame(b.rows[KEYS]).isin(keys)].reset_index(drop=True), b.meta)


def aligned(a: EvalResult, b: EvalResult) -> EvalResult:
    """b with its rows in a's order.

    Raises:
        UsageError: they are not of the same items.
    """
    if len(a) == len(b) and all((a.rows[k].to_numpy() == b.rows[k].to_numpy()).all() for k in KEYS):
        return b
    for side in (a, b):
        if (twice := side.rows.duplicated(KEYS)).any():
            raise UsageError(
                f"a result holds {side.rows.loc[twice, 'id'].iloc[0]!r} twice; ids must be unique to be paired"
            )
    merged = a.rows[KEYS].merge(b.rows, on=KEYS, how="left", validate="one_to_one", indicator=True)
    if len(a) != len(b) or (merged["_merge"] != "both").any():
        raise UsageError(f"the two results are not of the same items ({len(a)} and {len(b)} rows)")
    return EvalResult(merged, b.meta)


def by_question(values: np.ndarray, questions: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of rows of each question."""
    codes, _ = pd.factorize(questions)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(float)


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def bootstrap_ratio(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """BCa interval and two-sided p-value of sum(sums) / sum(counts); the degenerate cases are points."""
    from scipy.stats import bootstrap

    value = float(_ratio(sums, counts))
    if len(sums) < 2 or np.allclose(sums / counts, sums[0] / counts[0]):
        return value, value, 1.0 if value == 0 else 2 / (RESAMPLES + 1)
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
    draws = result.bootstrap_distribution
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return float(result.confidence_interval.low), float(result.confidence_interval.high), float(p)
