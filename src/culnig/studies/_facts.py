"""The facts block: what culture loses beyond recall, under the culture-general set and under random sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from culnig.evaluation import EvalResult
from culnig.evaluation.comparing import restrict, subset
from culnig.evaluation.matched import matched_drop
from culnig.formatting import interval, points
from culnig.studies._base import Finding, Section

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

METRICS = ("correct", "log_odds")
Conditions = dict[str, Sequence[str]]
"""Label -> the conditions whose drops are averaged."""


def add_facts(section: Section, run: SavedRun, name: str, controls: Sequence[str]) -> None:
    """Add the table `facts`: drops on culture items and on fact items that began alike, and their difference.

    Nothing is added where the run has no test set of the role `facts`, or where it was not evaluated under the set.
    """
    if not run.has_result("facts", name):
        return
    labels: Conditions = {name: [name]}
    if evaluated := [control for control in controls if run.has_result("facts", control)]:
        labels["random sets (mean)"] = evaluated
    rows = []
    for label, conditions in labels.items():
        for kind in ("all", *_kinds(run)):
            pair = _pairs(run, conditions, kind)
            rows += [{"condition": label, "kind": kind} | matched_drop(*pair, metric).to_dict() for metric in METRICS]
    table = pd.DataFrame(rows)
    section.tables["facts"] = table
    section.numbers["facts"] = table.to_dict("records")
    main = table[(table["condition"] == name) & (table["kind"] == "all") & (table["metric"] == "correct")].iloc[0]
    section.text.append(_said(main, table))
    section.claim += (
        f" On facts that it answers as surely, accuracy changes by {points(-main['facts_drop'])} points; culture changes by"
        f" {points(-main['difference'])} more ({interval(_negative(main))})."
    )
    section.findings.append(
        Finding(
            "culture beyond recall",
            f"{points(-main['difference'])} points",
            f"{interval(_negative(main))}; matched facts",
        )
    )


def _kinds(run: SavedRun) -> list[str]:
    """The kinds of facts, where there are several."""
    untouched = run.result("facts", "none")
    assert untouched is not None
    kinds = sorted(untouched.rows["topic"].unique())
    return kinds if 1 < len(kinds) <= 4 else []


def _pairs(
    run: SavedRun, conditions: Sequence[str], kind: str
) -> tuple[tuple[EvalResult, list[EvalResult]], tuple[EvalResult, list[EvalResult]]]:
    """(untouched, suppressed) on culture and on facts of a kind."""
    found = []
    for role in ("culture", "facts"):
        results = [run.result(role, condition) for condition in ("none", *conditions)]
        chosen = [result for result in results if result is not None]
        if role == "facts" and kind != "all":
            chosen = [subset(result, "topic", kind) for result in chosen]
            chosen = [EvalResult(each.rows.reset_index(drop=True), each.meta) for each in chosen]
        untouched, *suppressed = chosen
        found.append((restrict(untouched, suppressed[0]), suppressed))
    return found[0], found[1]


def _negative(row: pd.Series) -> dict[str, float]:
    """The interval of the change, which is minus the drop."""
    return {"low": -row["high"], "high": -row["low"]}


def _said(main: pd.Series, table: pd.DataFrame) -> str:
    """The comparison in words."""
    beyond = main["low"] > 0
    verdict = (
        "so culture falls by more than recall does"
        if beyond
        else "so this run does not show that culture falls by more than recall does"
    )
    text = (
        f"Facts: {main['pairs']:,} culture items were paired with fact items that the untouched model answers as surely"
        f" ({main['unmatched']:,} found no partner). Accuracy changes by {points(-main['culture_drop'])} points on culture and by"
        f" {points(-main['facts_drop'])} on facts, {verdict}: {points(-main['difference'])} points ({interval(_negative(main))})."
    )
    random = table[
        (table["condition"] != main["condition"]) & (table["kind"] == "all") & (table["metric"] == "correct")
    ]
    if len(random):
        row = random.iloc[0]
        text += f" Under random sets the same difference is {points(-row['difference'])} points ({interval(_negative(row))})."
    return text
