"""Exact tests, and corrections for the number of tests."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from culnig.errors import UsageError

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh"}
"""Name -> name in statsmodels: Holm (family-wise error), Benjamini-Hochberg (false discoveries)."""


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of two conditions on the same questions.

    Attributes:
        lost, gained: questions with fewer, and with more, right rows in the first condition than in the second.
        p: two-sided exact p-value of `lost` among lost + gained fair coin throws.
        questions: number of independent units.
    """

    lost: int
    gained: int
    p: float
    questions: int


def mcnemar_test(differences: np.ndarray) -> McNemar:
    """Run the exact McNemar test (McNemar 1947, binomial version) of paired differences.

    Args:
        differences: [questions], right rows in the first condition minus right rows in the second.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    lost, gained = int((differences < -0.5).sum()), int((differences > 0.5).sum())
    p = float(exact([[0, lost], [gained, 0]], exact=True).pvalue) if lost + gained else 1.0
    return McNemar(lost, gained, p, len(differences))


def adjust(p_values: Sequence[float] | np.ndarray, method: str = "holm") -> np.ndarray:
    """Correct p-values for their number.

    Args:
        p_values: one p-value a test; NaN (no test) stays NaN and does not count.
        method: "holm" (Holm 1979: the chance of any false finding), or "bh" (Benjamini and Hochberg 1995: the share
            of false ones among the findings).

    Raises:
        UsageError: the method is unknown.
    """
    from statsmodels.stats.multitest import multipletests

    if method not in CORRECTIONS:
        raise UsageError(f"unknown correction '{method}'; there are {' and '.join(CORRECTIONS)}")
    adjusted = np.array(p_values, dtype=float)
    tested = ~np.isnan(adjusted)
    if tested.any():
        gc.freeze()  # statsmodels collects garbage at every call, which takes 0.2 s and more beside torch and pandas
        try:
            adjusted[tested] = multipletests(adjusted[tested], method=CORRECTIONS[method])[1]
        finally:
            gc.unfreeze()
    return adjusted
