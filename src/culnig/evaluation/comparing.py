"""Means and paired differences with bootstrap intervals.

Rows of one question (its option draws and wordings) are resampled together, since they are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation.results import EvalResult
from culnig.statistics.bootstrap import bootstrap_ratio, by_question, differences
from culnig.statistics.draws import paired
from culnig.statistics.power import ALPHA, POWER, questions_needed, smallest_drop
from culnig.statistics.tests import McNemar, adjust, mcnemar_test

ResultT = TypeVar("ResultT", bound=EvalResult)
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
        low, high: ends of the 95 % interval of the difference (BCa bootstrap over questions; against several random draws
            widened for these, see `statistics.draws`).
        p: two-sided p-value of no difference: exact up to 20 questions, else by bootstrap; NaN for a single question.
        questions, rows: independent units, and rows.
        draws: results on the other side: the random draws that the comparison rests on.
        p_floor: least p-value that resampling could give; where p is not above it, read "at most".  0 for exact tests.
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
    draws: int = 1
    p_floor: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def question_of(rows: pd.DataFrame) -> pd.Series:
    """The unit of resampling of each row: its id without the number of the option draw."""
    if "question" in rows:  # of a large result, which keeps no ids in memory
        return rows["question"]
    ids = rows["id"].astype(str).to_numpy(dtype=object)
    draw, variants = pd.factorize(rows["variant"].astype(str))
    for number, variant in enumerate(variants):
        if suffix := variant and f"/{variant}":
            places = np.flatnonzero(draw == number)
            ids[places] = [name.removesuffix(suffix) for name in ids[places].tolist()]
    return rows["benchmark"].astype(str) + "/" + pd.Series(ids, index=rows.index, dtype=object)


def estimate(result: EvalResult, metric: str = "correct", *, seed: int = 0) -> Estimate:
    """Mean of a metric with its interval."""
    values = result.values(metric)
    sums, counts = by_question(values, question_of(result.rows))
    low, high, _ = bootstrap_ratio(sums, counts, seed)
    return Estimate(float(values.mean()), low, high, len(counts), len(values))


def compare(
    a: EvalResult | Sequence[EvalResult],
    b: EvalResult | Sequence[EvalResult],
    metric: str = "correct",
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two conditions item by item.

    Args:
        a: one condition, or several repeats of it (seeds), each paired with the repeat of the other at its place.
        b: the other, or several random draws (controls).  With several, questions and draws are both samples.
        metric: correct, correct_among_options, p_gold, log_odds, alignment (items on a scale), or one of those that
            `EvalResult.values` derives.
        seed: seed of the bootstrap.

    Raises:
        UsageError: an unknown metric, results of different items, or repeats that do not pair.
    """
    firsts, others = ([side] if isinstance(side, EvalResult) else list(side) for side in (a, b))
    if not firsts or not others:
        raise UsageError("nothing to compare with")
    if len(firsts) != len(others) and 1 not in (len(firsts), len(others)):
        raise UsageError(f"{len(firsts)} repeats cannot be paired with {len(others)}")
    left, right = (
        np.stack([aligned(firsts[0], each).values(metric) for each in side], axis=1) for side in (firsts, others)
    )
    test = paired(differences(left, right), question_of(firsts[0].rows), seed)
    return Comparison(
        metric=metric,
        a=float(left.mean()),
        b=float(right.mean()),
        difference=test.difference,
        low=test.low,
        high=test.high,
        p=test.p,
        questions=test.units,
        rows=len(left),
        draws=test.draws,
        p_floor=test.p_floor,
    )


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


def subset(result: ResultT, column: str, value: object) -> ResultT:
    """The rows with one value of a column."""
    return type(result)(result.rows[result.rows[column] == value], result.meta)


def restrict(b: ResultT, a: EvalResult) -> ResultT:
    """The rows of b whose items are in a (a condition may be evaluated on a part of the items)."""
    keys = pd.MultiIndex.from_frame(a.rows[KEYS])
    return type(b)(b.rows[pd.MultiIndex.from_frame(b.rows[KEYS]).isin(keys)].reset_index(drop=True), b.meta)


def aligned(a: EvalResult, b: ResultT) -> ResultT:
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
    return type(b)(merged, b.meta)


def mcnemar(a: EvalResult, b: EvalResult, metric: str = "correct") -> McNemar:
    """Exact McNemar test (McNemar 1947, binomial version), by question.

    The rows of one question (its option draws and wordings) are not independent, so the unit is the question: lost if
    fewer of its rows are right in a than in b.  With one row a question this is McNemar's test of the rows.

    Raises:
        UsageError: a metric that is not right or wrong, or results of different items.
    """
    if not metric.startswith("correct"):
        raise UsageError(f"McNemar's test is of right and wrong answers, not of {metric}")
    sums, _ = by_question(a.values(metric) - aligned(a, b).values(metric), question_of(a.rows))
    return mcnemar_test(sums)


def discordance(a: EvalResult, b: EvalResult, metric: str = "correct") -> float:
    """Mean over questions of (a - b)^2, a question's rows averaged: the share of questions that change their answer.

    For one row a question that is exactly (lost + gained) / questions, the discordance that McNemar's test lives on.
    """
    sums, counts = by_question(a.values(metric) - aligned(a, b).values(metric), question_of(a.rows))
    return float(np.mean((sums / counts) ** 2))


Pair = tuple[EvalResult, Sequence[EvalResult]]
"""A condition, and what it is compared with: one result, or several random draws (controls)."""


def significance_table(
    pairs: Sequence[Pair],
    *,
    by: str | None = None,
    metric: str = "correct",
    correction: str = "holm",
    seed: int = 0,
) -> pd.DataFrame:
    """Paired differences with their p-values (see `Comparison`) and McNemar's, corrected over the rows of the table.

    Args:
        pairs: a pair a benchmark, or a single one.
        by: a column (country, topic): one row for each of its values; None: one row a pair.
        metric: what `EvalResult.values` knows.
        correction: "holm" or "bh".
        seed: seed of the bootstrap.

    Returns:
        A row a test: `test`, the value of `by`, and the fields of `Comparison`, with p_adjusted; for right-or-wrong metrics also lost, gained, p_mcnemar (exact), p_mcnemar_adjusted, NaN where the other side is a mean
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
