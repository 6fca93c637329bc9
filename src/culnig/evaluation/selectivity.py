"""Drops of several conditions with joint intervals: culture drop, ability drop, and their difference, selectivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation.comparing import aligned, question_of
from culnig.evaluation.results import EvalResult
from culnig.statistics.bootstrap import (
    JOINT_RESAMPLES,
    bootstrap_p,
    by_question,
    joint_bootstrap,
    percentile_interval,
    rounding,
)
from culnig.statistics.tests import adjust

QUANTITIES = ("culture", "ability", "selectivity")


@dataclass
class Drops:
    """How much each condition takes from culture and from ability ability.

    Attributes:
        value: quantity -> condition -> the drop (untouched minus suppressed); `selectivity` is culture minus ability.
        draws: quantity -> condition -> its bootstrap values, [resamples], the same resamples for every condition.
    """

    value: dict[str, dict[str, float]]
    draws: dict[str, dict[str, np.ndarray]]

    @property
    def conditions(self) -> list[str]:
        return list(self.value["culture"])

    def average(self, name: str, members: Sequence[str], *, seed: int = 0) -> None:
        """Add the mean of some random draws as a condition of its own.

        Every resample of the questions has a resample of the draws (pigeonhole bootstrap, Owen 2007), spread by
        sqrt(K / (K - 1)) because K draws lie nearer to their own mean than to that of all draws.
        """
        count = len(members)
        resamples = len(self.draws["culture"][members[0]])
        weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples) / count
        wider = np.sqrt(count / max(count - 1, 1))
        for quantity in QUANTITIES:
            draws = np.stack([self.draws[quantity][member] for member in members], axis=1)
            mean = draws.mean(axis=1)
            self.value[quantity][name] = float(np.mean([self.value[quantity][member] for member in members]))
            self.draws[quantity][name] = mean + wider * ((weights * draws).sum(axis=1) - mean)

    def row(self, condition: str) -> dict[str, float]:
        """Each quantity with its interval."""
        found: dict[str, float] = {}
        for quantity in QUANTITIES:
            low, high = percentile_interval(self.draws[quantity][condition])
            found |= {quantity: self.value[quantity][condition], f"{quantity}_low": low, f"{quantity}_high": high}
        return found

    def difference(self, a: str, b: str, quantity: str = "selectivity") -> dict[str, float]:
        """a minus b, with the interval and the two-sided p of the paired bootstrap."""
        draws = self.draws[quantity][a] - self.draws[quantity][b]
        value = self.value[quantity][a] - self.value[quantity][b]
        if np.ptp(draws) <= rounding(draws):  # the same answers throughout
            p = 1.0 if abs(value) <= 1e-9 else 2 / (len(draws) + 1)
            return {"difference": value, "low": value, "high": value, "p": p, "p_floor": 2 / (len(draws) + 1)}
        low, high = percentile_interval(draws)
        floor = 2 / (len(draws) + 1)
        return {"difference": value, "low": low, "high": high, "p": bootstrap_p(draws), "p_floor": floor}


def drops(
    culture: Mapping[str, EvalResult],
    ability: Mapping[str, EvalResult],
    untouched: tuple[EvalResult, EvalResult],
    metric: str = "correct",
    *,
    seed: int = 0,
    resamples: int = JOINT_RESAMPLES,
) -> Drops:
    """Drops of many conditions, by a bootstrap over questions that is the same for all of them.

    Culture and ability questions are resampled apart; rows of one question stay together.  Intervals are percentiles.

    Args:
        culture, ability: condition -> its results on the two test sets.
        untouched: the untouched model's, in the same order.
        metric: what `EvalResult.values` knows.
        seed: seed of the bootstrap.
        resamples: bootstrap resamples.

    Raises:
        UsageError: no conditions, conditions that are not in both, results of different items, an unknown metric.
    """
    if not culture or set(culture) != set(ability):
        raise UsageError("the same conditions are needed on culture and on ability items, one at least")
    rng = np.random.default_rng(seed)
    value: dict[str, dict[str, float]] = {}
    draws: dict[str, dict[str, np.ndarray]] = {}
    for quantity, results, plain in (("culture", culture, untouched[0]), ("ability", ability, untouched[1])):
        value[quantity], draws[quantity] = _bootstrap(results, plain, metric, rng, resamples)
    value["selectivity"] = {name: value["culture"][name] - value["ability"][name] for name in culture}
    draws["selectivity"] = {name: draws["culture"][name] - draws["ability"][name] for name in culture}
    return Drops(value, draws)


def _bootstrap(
    results: Mapping[str, EvalResult], plain: EvalResult, metric: str, rng: np.random.Generator, resamples: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    base, questions = plain.values(metric), question_of(plain.rows)
    pairs = [by_question(base - aligned(plain, result).values(metric), questions) for result in results.values()]
    sums, counts = np.stack([sums for sums, _ in pairs], axis=1), pairs[0][1]
    drawn = joint_bootstrap(sums, counts, rng, resamples)
    whole = sums.sum(axis=0) / counts.sum()
    return (
        {name: float(whole[i]) for i, name in enumerate(results)},
        {name: drawn[:, i] for i, name in enumerate(results)},
    )


def winners(found: Drops, by_cell: Mapping[str, Mapping[str, str]], *, alpha: float = 0.05) -> pd.DataFrame:
    """Which method is the most selective in each cell, and which cannot be told from it.

    Args:
        found: the drops.
        by_cell: cell (a budget on some modules) -> method -> condition.
        alpha: level; p-values of the comparisons with the best method are corrected by Holm's method over all cells, so
            the chance that any method of any cell is found behind by chance is at most alpha.

    Returns:
        A row a cell and method: cell, method, the quantities with their intervals, behind (the best's selectivity minus
        the method's) with behind_low, behind_high, p, p_adjusted, and place: best, level (not told apart) or behind.
    """
    rows = []
    for cell, members in by_cell.items():
        best = max(members, key=lambda method: found.value["selectivity"][members[method]])
        for method, condition in members.items():
            row = {"cell": cell, "method": method, "place": "best" if method == best else ""} | found.row(condition)
            itself = {"difference": 0.0, "low": 0.0, "high": 0.0, "p": float("nan"), "p_floor": 0.0}
            facts = itself if method == best else found.difference(members[best], condition)
            row |= {"behind": facts["difference"], "behind_low": facts["low"], "behind_high": facts["high"]}
            rows.append(row | {"p": facts["p"], "p_floor": facts["p_floor"]})
    table = pd.DataFrame(rows)
    table["p_adjusted"] = adjust(table["p"].to_numpy())
    others = table["place"] == ""
    table.loc[others, "place"] = np.where(table.loc[others, "p_adjusted"] < alpha, "behind", "level")
    return table
