"""How small a change a number of questions can show, and how many questions a change needs."""

from __future__ import annotations

import numpy as np

from culnig.errors import UsageError

ALPHA = 0.05
POWER = 0.8


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
