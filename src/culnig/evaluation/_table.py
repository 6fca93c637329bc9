"""Tables of paired tests: several benchmarks or countries, p-values corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation._compare import compare, question_of, subset
from culnig.evaluation._result import EvalResult
from culnig.evaluation._significance import ALPHA, POWER, adjust, discordance, mcnemar, questions_needed, smallest_drop

Pair = tuple[EvalResult, Sequence[EvalResult]]
"""A condition, and what it is compared with: one result, or several whose rows are averaged (random controls)."""


def significance_table(
    pairs: Sequence[Pair],
    *,
    by: str | None = None,
    metric: str = "correct",
    correction: str = "holm",
    seed: int = 0,
) -> pd.DataFrame:
    """Paired differences with bootstrap and exact p-values, corrected over the rows of the table.

    Args:
        pairs: a pair a benchmark, or a single one.
        by: a column (country, topic): one row for each of its values; None: one row a pair.
        metric: what `EvalResult.values` knows.
        correction: "holm" or "bh".
        seed: seed of the bootstrap.

    Returns:
        A row a test: `test`, the value of `by`, questions, rows, a, b, difference, low, high, p (bootstrap), p_adjusted; for
        right-or-wrong metrics also lost, gained, p_mcnemar (exact), p_mcnemar_adjusted, NaN where the other side is a mean
        of several results, of which that test knows nothing.

    Raises:
        UsageError: no pairs, results of different items, an unknown metric, column or correction.
    """
    parts = [part for pair in pairs for part in _parts(pair, by)]
    if not parts:
        raise UsageError("nothing to compare")
    rows = []
    for where, a, others in parts:
        facts = compare(a, others, metric, seed=seed).to_dict()
        if metric.startswith("correct"):
            facts |= _exact(a, others, metric)
        rows.append(where | facts)
    table = pd.DataFrame(rows)
    for column in ("p", "p_mcnemar"):
        if column in table:
            table.insert(table.columns.get_loc(column) + 1, f"{column}_adjusted", adjust(table[column], correction))
    return table


def _parts(pair: Pair, by: str | None) -> list[tuple[dict[str, object], EvalResult, list[EvalResult]]]:
    a, others = pair
    test = ", ".join(sorted(a.rows["benchmark"].unique()))
    if by is None:
        return [({"test": test}, a, list(others))]
    if by not in a.rows:
        raise UsageError(f"no column '{by}' to compare by; there are {', '.join(a.rows.columns)}")
    return [
        ({"test": test, by: value}, subset(a, by, value), [subset(other, by, value) for other in others])
        for value in sorted(a.rows[by].unique())
    ]


def _exact(a: EvalResult, others: Sequence[EvalResult], metric: str) -> dict[str, float]:
    if len(others) > 1:
        return dict.fromkeys(("lost", "gained", "p_mcnemar"), float("nan"))
    test = mcnemar(a, others[0], metric)
    return {"lost": test.lost, "gained": test.gained, "p_mcnemar": test.p}


def power_table(
    pairs: Sequence[Pair],
    drops: Sequence[float] = (0.01, 0.03, 0.05),
    *,
    by: str | None = None,
    assumed: float | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> pd.DataFrame:
    """How small a drop the questions at hand can show, and how many would be needed for given drops.

    Args:
        pairs: as for `significance_table`; each with a single other side.
        drops: changes of accuracy, as shares.
        by: as for `significance_table`.
        assumed: discordance to plan with; None is the observed one.
        alpha: level of each single test; for m tests under Holm, alpha / m is on the safe side.
        power: chance of seeing the drop.

    Returns:
        A row a test: questions, discordance, smallest_drop, and `needed_<points>` questions for each drop.

    Raises:
        UsageError: a drop or share out of range, or several results on the other side.
    """
    rows = []
    for where, a, others in [part for pair in pairs for part in _parts(pair, by)]:
        if len(others) != 1:
            raise UsageError("power is of a comparison of two results; leave the controls out")
        psi = discordance(a, others[0]) if assumed is None else assumed
        questions = question_of(a.rows).nunique()
        rows.append(
            where
            | {"questions": questions, "discordance": psi}
            | {"smallest_drop": smallest_drop(questions, psi, alpha=alpha, power=power)}
            | {f"needed_{100 * d:g}": questions_needed(d, psi, alpha=alpha, power=power) for d in drops}
        )
    return pd.DataFrame(rows)
