"""The smallest change that a number of questions can show, and the number of questions that a change needs."""

from __future__ import annotations

import numpy as np

from culnig.errors import UsageError

ALPHA = 0.05
POWER = 0.8


def power_of(questions: float, drop: float, discordance: float, *, alpha: float = ALPHA) -> float:
    """Return the probability that a two-sided paired test at level alpha detects a true change of `drop`.

    Phi((|d| sqrt(n) - z_{1 - alpha/2} sqrt(psi)) / sqrt(psi - d^2)), with d the change of accuracy and psi the
    discordance (Connor 1987, for McNemar's test).  Right-or-wrong answers cannot have psi below |d|; such a psi is
    taken as |d|.
    """
    from scipy.stats import norm

    d, psi = _possible(drop, discordance)
    spread = np.sqrt(max(psi - d * d, 1e-12))
    return float(norm.cdf((d * np.sqrt(questions) - norm.isf(alpha / 2) * np.sqrt(psi)) / spread))


def questions_needed(drop: float, discordance: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Return the number of questions that a two-sided paired test needs to detect `drop` with probability `power`.

    n = (z_{1 - alpha/2} sqrt(psi) + z_power sqrt(psi - d^2))^2 / d^2, rounded up (Connor 1987; see `power_of`).

    Args:
        drop: change of accuracy to detect, as a share (0.03 is 3 points).
        discordance: share of questions whose answer changes (see `discordance`), observed or assumed.

    Raises:
        UsageError: the drop is not in 0 to 1, or discordance, level or power are invalid.
    """
    from scipy.stats import norm

    if not 0 < abs(drop) <= 1:
        raise UsageError(f"no test can detect a drop of {100 * drop:g} points; give more than 0 and at most 100")
    if not 0 <= discordance <= 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise UsageError("discordance, level and power are shares between 0 and 1")
    d, psi = _possible(drop, discordance)
    root = norm.isf(alpha / 2) * np.sqrt(psi) + norm.isf(1 - power) * np.sqrt(max(psi - d * d, 0.0))
    return int(np.ceil((root / d) ** 2 - 1e-9))


def smallest_drop(questions: int, discordance: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest change of accuracy that a test detects with probability `power`; NaN if there is none."""
    from scipy.optimize import brentq

    def short(d: float) -> float:
        return power_of(questions, d, discordance, alpha=alpha) - power

    return float(brentq(short, 1e-6, 1.0)) if short(1.0) > 0 > short(1e-6) else float("nan")


def _possible(drop: float, discordance: float) -> tuple[float, float]:
    return abs(drop), max(discordance, abs(drop))
