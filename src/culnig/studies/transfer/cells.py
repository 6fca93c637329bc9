"""The cells of the matrices: paired changes of every set on every test set, from saved rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from culnig.evaluation import EvalResult, compare
from culnig.evaluation.comparing import aligned
from culnig.statistics.tests import adjust
from culnig.studies.transfer.sets import held, homes, random_names

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import TestConfig

ROLES = ("culture", "ability")
METRICS = ("correct", "log_odds", "contrast_margin")
ITEM = ["benchmark", "id"]


def _tests(run: SavedRun) -> list[TestConfig]:
    return [test for role in ROLES for test in run.config.tests_of(role)]


def cell_table(run: SavedRun) -> pd.DataFrame:
    """A row a cell of a matrix: a set on a test set, on which items, in which wording, against what, by which metric.

    p-values are corrected over the cells of one matrix.
    """
    own = homes(run.config)
    rows = []
    for test in _tests(run):
        untouched = _loaded(run, test, "none")
        views = list(_views(untouched))
        for label, name in held(run).items():
            masked = aligned(untouched, _loaded(run, test, name))
            random = [aligned(untouched, _loaded(run, test, each)) for each in random_names(name, run.config)]
            where = {"found on": label, "test": test.label, "role": test.role, "own": test.label == own[label]}
            for view, taken in views:
                for against, others in (("untouched", [untouched]), ("random", random)):
                    compared = _compared(masked, others, taken, run.config.seed)
                    rows += [where | view | {"against": against} | row for row in compared]
    table = pd.DataFrame(rows)
    families = table.groupby(["items", "wording", "against", "metric"])["p"]
    corrected = families.transform(lambda p: adjust(p, run.config.correction))
    table.insert(table.columns.get_loc("p") + 1, "p_adjusted", corrected)
    return table


def _loaded(run: SavedRun, test: TestConfig, condition: str) -> EvalResult:
    """The results of a condition; the margin is the contrast margin, where any row has the offsets for it."""
    result = run.result_on(test, condition)
    if "contrast_offsets" not in result.rows or result.rows["contrast_offsets"].isna().all():
        return EvalResult(result.rows.assign(margin=np.nan), result.meta)
    margins = np.where(result.rows["contrast_offsets"].notna(), result.values("contrast_margin"), np.nan)
    return EvalResult(result.rows.assign(margin=margins), result.meta)


def _views(untouched: EvalResult) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """The parts of a test set that are looked at: all items or those known, in all wordings or in one."""
    wording = wordings(untouched.rows)
    kinds = ["all", *sorted(set(wording))] if wording.nunique() > 1 else ["all"]
    every = np.ones(len(untouched), dtype=bool)
    for items, mask in (("all", every), ("known", known(untouched))):
        for kind in kinds:
            taken = mask & (every if kind == "all" else wording.eq(kind).to_numpy())
            if taken.any():
                yield {"items": items, "wording": kind}, taken


def wordings(rows: pd.DataFrame) -> pd.Series:
    """The wording of each row, whatever the order of its options (`letters-1` of `letters-1/2`)."""
    return rows["wording"].astype(str).str.partition("/")[0]


def known(untouched: EvalResult) -> np.ndarray:
    """Which rows are of items that the untouched model answers correctly in most rows of the other wordings, bool [rows].

    Where a test set has one wording, its own rows decide.
    """
    rows = untouched.rows.assign(wording=wordings(untouched.rows))
    correct = rows["correct"].astype(float)
    right, count = (correct.groupby([rows[c] for c in ITEM]).transform(how) for how in ("sum", "size"))
    here, of_here = (correct.groupby([rows[c] for c in (*ITEM, "wording")]).transform(how) for how in ("sum", "size"))
    if rows["wording"].nunique() == 1:
        return (here / of_here > 0.5).to_numpy()
    return (right - here > 0.5 * (count - of_here)).to_numpy()


def _compared(
    masked: EvalResult, others: list[EvalResult], taken: np.ndarray, seed: int
) -> Iterator[dict[str, object]]:
    """One row a metric; the contrast margin on the rows that have it."""
    for metric in METRICS:
        column = "margin" if metric == "contrast_margin" else metric
        there = [each.rows[column].notna().to_numpy() for each in (masked, *others)]
        chosen = np.logical_and.reduce([taken, *there])
        if chosen.any():
            a, *b = (EvalResult(each.rows[chosen].reset_index(drop=True), each.meta) for each in (masked, *others))
            yield compare(a, b, column, seed=seed).to_dict() | {"metric": metric}
