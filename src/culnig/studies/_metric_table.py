"""Paired changes of a condition on the first test set of each of some roles, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from culnig.evaluation import EvalResult, compare

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

ROLES = ("culture", "ability")
METRICS = ("correct", "log_odds")


def metric_table(
    run: SavedRun,
    condition: str,
    controls: Sequence[str] = (),
    where: dict[str, Any] | None = None,
    *,
    label: str = "random",
    roles: Sequence[str] = ROLES,
) -> list[dict[str, Any]]:
    """Rows for each role and metric: against the untouched model, and against the mean of controls if there are any.

    Args:
        run: the run.
        condition: what changed.
        controls: conditions to compare with besides.
        where: columns that every row begins with.
        label: what the controls are called in the column `against`.
        roles: roles of the test sets; those that the run does not have are left out.
    """
    rows: list[dict[str, Any]] = []
    for role in roles:
        if (test := run.config.test_of(role)) is None:
            continue
        masked = run.result_on(test, condition)
        others: list[tuple[str, list[EvalResult]]] = [("untouched", [run.result_on(test, "none")])]
        if controls:
            others.append((label, [run.result_on(test, name) for name in controls]))
        for against, results in others:
            rows += [
                {**(where or {}), "role": role, "against": against}
                | compare(masked, results, metric, seed=run.config.seed).to_dict()
                for metric in METRICS
            ]
    return rows


def changes(table: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """The figures of such a table for `results.json`."""
    keep = [by, "role", "against", "metric", "a", "b", "difference", "low", "high", "p", "p_floor", "draws"]
    return table[keep].to_dict("records")
