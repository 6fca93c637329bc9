"""Is it culture that fell, or recall?  The drop on culture items minus the drop on fact items that began alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from culnig.evaluation.comparing import aligned, question_of
from culnig.evaluation.results import EvalResult
from culnig.statistics.bootstrap import differences
from culnig.statistics.draws import paired
from culnig.statistics.matching import nearest_pairs


@dataclass(frozen=True)
class MatchedDrop:
    """Drops of pairs of a culture and a fact item, matched on the untouched model's lead:
    the calibrated log-probability of the right option minus that of the best other.

    Attributes:
        metric: what dropped.
        culture_drop, facts_drop: mean drops (untouched minus suppressed) over the pairs.
        difference: culture minus facts; what culture loses beyond recall.
        low, high: ends of its 95 % interval over culture questions, each with its pairs, and over random draws if several.
        p: two-sided p-value of no difference, as in `Comparison`.
        pairs: matched pairs.
        unmatched: culture items without a fact item that began alike.
        untouched_culture, untouched_facts: mean of the metric over the pairs before.
        draws: suppressions averaged.
        p_floor: least p-value that resampling could give; 0 for exact tests.
    """

    metric: str
    culture_drop: float
    facts_drop: float
    difference: float
    low: float
    high: float
    p: float
    pairs: int
    unmatched: int
    untouched_culture: float
    untouched_facts: float
    draws: int = 1
    p_floor: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def matched_drop(
    culture: tuple[EvalResult, Sequence[EvalResult]],
    facts: tuple[EvalResult, Sequence[EvalResult]],
    metric: str = "correct",
    *,
    seed: int = 0,
) -> MatchedDrop:
    """Compare what a suppression takes from culture items with what it takes from fact items matched to them.

    Args:
        culture: results without and with the suppression; of several suppressions (random sets) the mean.
        facts: the same for fact items.
        metric: what `EvalResult.values` knows.
        seed: seed of the order of matching and of the bootstrap.

    Raises:
        UsageError: results of different items, or an unknown metric.
    """
    first, second = nearest_pairs(culture[0].values("lead"), facts[0].values("lead"), seed=seed)
    fallen, forgotten = _drops(*culture, metric)[first], _drops(*facts, metric)[second]
    questions = question_of(culture[0].rows).iloc[first]
    if not len(first):
        nan = float("nan")
        return MatchedDrop(metric, nan, nan, nan, nan, nan, nan, 0, len(culture[0]), nan, nan)
    test = paired(differences(fallen, forgotten), questions, seed)
    return MatchedDrop(
        metric=metric,
        culture_drop=float(fallen.mean()),
        facts_drop=float(forgotten.mean()),
        difference=float((fallen - forgotten).mean()),
        low=test.low,
        high=test.high,
        p=test.p,
        pairs=len(first),
        unmatched=len(culture[0]) - len(first),
        untouched_culture=float(culture[0].values(metric)[first].mean()),
        untouched_facts=float(facts[0].values(metric)[second].mean()),
        draws=test.draws,
        p_floor=test.p_floor,
    )


def _drops(untouched: EvalResult, suppressed: Sequence[EvalResult], metric: str) -> np.ndarray:
    """Untouched minus suppressed, [rows, suppressions]."""
    after = np.stack([aligned(untouched, each).values(metric) for each in suppressed], axis=1)
    return differences(untouched.values(metric)[:, None], after)
