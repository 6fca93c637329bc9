"""Exact tests, corrections for many tests, and how many questions a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from culnig.errors import UsageError
from culnig.evaluation._compare import aligned, by_question, question_of
from culnig.evaluation._result import EvalResult

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh"}
"""Name -> what statsmodels calls it: Holm (family-wise error), Benjamini-Hochberg (false discoveries)."""
ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two conditions on the same questions.

    Attributes:
        lost, gained: questions with fewer, and with more, right rows in the first condition than in the second.
        p: two-sided exact p-value: of `lost` among lost + gained fair coin throws.
        questions: independent units.
    """

    lost: int
    gained: int
    p: float
    questions: int


def mcnemar(a: EvalResult, b: EvalResult, metric: str = "correct") -> McNemar:
    """Exact McNemar test (McNemar 1947, binomial version), by question.

    The rows of one question (its option draws and wordings) are not independent, so the unit is the question: lost if
    fewer of its rows are right in a than in b.  With one row a question this is McNemar's test of the rows.

    Raises:
        UsageError: a metric that is not right or wrong, or results of different items.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    if not metric.startswith("correct"):
        raise UsageError(f"McNemar's test is of right and wrong answers, not of {metric}")
    sums, _ = by_question(a.values(metric) - aligned(a, b).values(metric), question_of(a.rows))
    lost, gained = int((sums < -0.5).sum()), int((sums > 0.5).sum())
    p = float(exact([[0, lost], [gained, 0]], exact=True).pvalue) if lost + gained else 1.0
    return McNemar(lost, gained, p, len(sums))


def adjust(p_values: Sequence[float] | np.ndarray, method: str = "holm") -> np.ndarray:
    """p-values corrected for their number.

    Args:
        p_values: one p-value a test; NaN (no test) stays NaN and is not counted.
        method: "holm" (Holm 1979: the chance of any false finding), or "bh" (Benjamini and Hochberg 1995: the share
            of false ones among the findings).

    Raises:
        UsageError: another method.
    """
    from statsmodels.stats.multitest import multipletests

    if method not in CORRECTIONS:
        raise UsageError(f"unknown correction '{method}'; there are {' and '.join(CORRECTIONS)}")
    adjusted = np.array(p_values, dtype=float)
    tested = ~np.isnan(adjusted)
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method=CORRECTIONS[method])[1]
    return adjusted


def discordance(a: EvalResult, b: EvalResult, metric: str = "correct") -> float:
    """Mean over questions of (a - b)^2, a question's rows averaged: the share of questions that change their answer.

    For one row a question that is exactly (lost + gained) / questions, the discordance that McNemar's test lives on.
    """
    sums, counts = by_question(a.values(metric) - aligned(a, b).values(metric), question_of(a.rows))
    return float(np.mean((sums / counts) ** 2))


def power_of(questions: float, drop: float, discordance: float, *, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired test at level alpha sees a true change of `drop`.

    Phi((|d| sqrt(n) - z_{1 - alpha/2} sqrt(psi)) / sqrt(psi - d^2)), with d the change of accuracy and psi the discordance
    (Connor 1987, for McNemar's test).  psi below |d| is impossible for right-or-wrong answers and is taken as |d|.
    """
    from scipy.stats import norm

    d, psi = _possible(drop, discordance)
    spread = np.sqrt(max(psi - d * d, 1e-12))
    return float(norm.cdf((d * np.sqrt(questions) - norm.isf(alpha / 2) * np.sqrt(psi)) / spread))


def questions_needed(drop: float, discordance: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Questions that a two-sided paired test needs to see a change of `drop` with probability `power`.

    n = (z_{1 - alpha/2} sqrt(psi) + z_power sqrt(psi - d^2))^2 / d^2, rounded up (Connor 1987; see `power_of`).

    Args:
        drop: change of accuracy to be seen, as a share (0.03 is 3 points).
        discordance: share of questions whose answer changes (see `discordance`), observed or assumed.

    Raises:
        UsageError: a drop outside 0 to 1, or a discordance, level or power that is none.
    """
    from scipy.stats import norm

    if not 0 < abs(drop) <= 1:
        raise UsageError(f"a drop of {100 * drop:g} points cannot be looked for; give more than 0 and at most 100")
    if not 0 <= discordance <= 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise UsageError("discordance, level and power are shares between 0 and 1")
    d, psi = _possible(drop, discordance)
    root = norm.isf(alpha / 2) * np.sqrt(psi) + norm.isf(1 - power) * np.sqrt(max(psi - d * d, 0.0))
    return int(np.ceil((root / d) ** 2 - 1e-9))


def smallest_drop(questions: int, discordance: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest change of accuracy that so many questions show with probability `power`; NaN if none can be seen."""
    from scipy.optimize import brentq

    def short(d: float) -> float:
        return power_of(questions, d, discordance, alpha=alpha) - power

    return float(brentq(short, 1e-6, 1.0)) if short(1.0) > 0 > short(1e-6) else float("nan")


def _possible(drop: float, discordance: float) -> tuple[float, float]:
    return abs(drop), max(discordance, abs(drop))
