"""A result: accuracy by country, or what changed against another result."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, compare_by, estimate
from culnig.evaluation.comparing import subset
from culnig.figures import INK, change_by, empty_figure, error_bars
from culnig.formatting import interval, p_equals, points
from culnig.notebook._view import View


def view_result(result: EvalResult, *, before: EvalResult | None = None, by: str = "country") -> View:
    """Draw a result by country, or what changed since another.

    Args:
        result: the result.
        before: a result of the same items in another state of the model; then the paired change is drawn.
        by: column that splits the rows ("country", "topic", "benchmark").

    Raises:
        UsageError: no such column, or results of different items.
    """
    if by not in result.rows:
        raise UsageError(f"no column '{by}'; there are {', '.join(result.rows.columns)}")
    if before is not None:
        return _change(result, before, by)
    table, total = accuracy_table(result, by), estimate(result)
    text = f"Accuracy {total.value:.1%} (95 % interval {total.low:.1%} to {total.high:.1%}) on {total.questions:,} questions."
    caption = f"Accuracy by {by}, with 95 % intervals over questions; the line is the accuracy on all."
    return View("Result", [text], [(caption, accuracy_by(table, by, total.value))], {f"By {by}": table})


def _change(result: EvalResult, before: EvalResult, by: str) -> View:
    all_rows, table = compare(result, before), compare_by(result, before, by)
    row = all_rows.to_dict()
    text = (
        f"Accuracy goes from {all_rows.b:.1%} to {all_rows.a:.1%}: {points(all_rows.difference)} points"
        f" (95 % interval {interval(row)}; {p_equals(row)}) on {all_rows.questions:,} questions."
    )
    kept = [by, "b", "a", "difference", "low", "high", "p", "questions"]
    shown = table[kept].rename(columns={"b": "before", "a": "after"}).sort_values("difference", ignore_index=True)
    caption = f"Change of accuracy by {by}, with 95 % intervals over questions."
    note = "The p-values of this table are not corrected for their number."
    return View("Change", [text, note], [(caption, change_by(table, by))], {f"By {by}": shown})


def accuracy_table(result: EvalResult, by: str) -> pd.DataFrame:
    """Return accuracy with its 95 % interval for each value of a column, shares, highest first."""
    rows = []
    for value in sorted(result.rows[by].unique()):
        e = estimate(subset(result, by, value))
        rows.append({by: value, "accuracy": e.value, "low": e.low, "high": e.high, "questions": e.questions})
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)


def accuracy_by(table: pd.DataFrame, by: str, overall: float) -> go.Figure:
    """Draw accuracy with intervals for each row of `accuracy_table`, and a line at the accuracy on all (a share)."""
    figure = empty_figure(90 + 24 * len(table))
    figure.add_scatter(
        x=list(100 * table["accuracy"]),
        y=[str(value) for value in table[by]],
        error_x=error_bars(table["accuracy"], table["low"], table["high"], unit=100, color=INK),
        mode="markers",
        marker={"size": 8, "color": INK},
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    figure.add_vline(x=100 * overall, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(title="accuracy, %")
    figure.update_yaxes(autorange="reversed")
    return figure


def brief_result(result: EvalResult) -> View:
    """Accuracy by country, without intervals."""
    meta = result.meta
    state = meta.get("intervention") or {}
    where = f"{state.get('operation')} on {state.get('count')} neurons" if state else "untouched"
    title = f"{meta.get('model', 'An unnamed model')}, {where}: accuracy {result.accuracy:.1%} on {len(result):,} rows"
    columns = [column for column in ("benchmark", "country") if column in result.rows]
    table = result.rows.groupby(columns)["correct"].agg(rows="size", accuracy="mean").reset_index()
    return View(title, tables={"By country": table})
