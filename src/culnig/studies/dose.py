"""Dose and response: the culture-general set scaled by degrees, from silent to several times its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.evaluation import estimate
from culnig.figures import (
    ROLE_COLOURS,
    ROLE_NAMES,
    empty_figure,
    error_bars,
)
from culnig.intervention import Operation
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._metric_table import METRICS, ROLES, changes, metric_table

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class DoseSettings(Settings):
    """Study `dose`: graded scaling of the culture-general set."""

    factors: list[float] = Field([0.0, 0.5, 1.5, 2.0, 3.0], min_length=1, description="1 is the untouched model")


class DoseStudy:
    """Multiply the culture-general set's values by several factors; 0 suppresses, 1 changes nothing, 2 enhances."""

    settings = DoseSettings
    section = "dose"
    order = 40
    needs = ("culture",)
    title = "Dose and response"
    titles: ClassVar = {
        "dose-changes": "Changes by factor",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED, *(_condition(factor, config) for factor in _factors(config))]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        rows = []
        for role in ROLES:
            if (test := run.config.test_of(role)) is None:
                continue
            for factor in sorted([1.0, *_factors(run.config)]):
                result = run.result_on(test, _condition(factor, run.config).name)
                for metric in METRICS:
                    e = estimate(result, metric, seed=run.config.seed)
                    rows.append(
                        {
                            "factor": factor,
                            "role": role,
                            "metric": metric,
                            "value": e.value,
                            "low": e.low,
                            "high": e.high,
                        }
                    )
        table = pd.DataFrame(rows)
        pairs = [
            row
            for f in _factors(run.config)
            for row in metric_table(run, _condition(f, run.config).name, where={"factor": f})
        ]
        paired = pd.DataFrame(pairs)
        section.tables = {"dose": table, "dose-changes": paired}
        section.numbers = {"changes": changes(paired, "factor")}
        section.figures = [
            (
                "Accuracy and log-odds of the gold option as the culture-general neurons' values are multiplied by a factor"
                " (0: suppressed, 1: untouched, 2: enhanced). Bars: 95 % intervals.",
                dose_curves(table),
            )
        ]
        culture = paired[(paired["role"] == "culture") & (paired["metric"] == "correct")].sort_values("a")
        best = culture.iloc[-1]
        better = best["low"] > 0
        section.text = [
            f"Of {len(culture)} factors the highest accuracy on culture items is {best['a']:.1%}, at factor"
            f" {best['factor']:g}, against {best['b']:.1%} untouched: {100 * best['difference']:+.1f} points"
            f" ({100 * best['low']:+.1f} to {100 * best['high']:+.1f}), "
            + ("an improvement." if better else "no improvement that these items can show.")
        ]
        return section


STUDIES.register("dose")(DoseStudy())


def _factors(config: RunSettings) -> list[float]:
    """The factors asked for, once each, without 1, which is the untouched model."""
    return sorted({factor for factor in config.section(DoseSettings).factors if factor != 1})


def _condition(factor: float, config: RunSettings) -> Condition:
    """Return the condition of the culture-general set under a factor; what another study evaluates anyway keeps its name."""
    if factor == 1:
        return UNTOUCHED
    if factor == Operation.parse(config.operation).factor:
        return Condition(CULTURE_GENERAL, CULTURE_GENERAL, config.operation, ROLES)
    return Condition(f"dose-{factor:g}", CULTURE_GENERAL, f"scale={factor:g}", ROLES)


def dose_curves(table: pd.DataFrame) -> go.Figure:
    """Accuracy (left) and log-odds (right) by factor, a line for each role.

    Args:
        table: columns factor, role, metric (correct, log_odds), value, low, high.
    """
    figure = empty_figure(360)
    for side, (metric, title, unit) in enumerate((("correct", "accuracy, %", 100), ("log_odds", "log-odds, nats", 1))):
        axis = "" if side == 0 else "2"
        for role, part in table[table["metric"] == metric].groupby("role"):
            figure.add_scatter(
                x=list(part["factor"]),
                y=list(unit * part["value"]),
                error_y=error_bars(part["value"], part["low"], part["high"], unit=unit, thickness=1.4),
                mode="lines+markers",
                line={"color": ROLE_COLOURS[role]},
                name=ROLE_NAMES[role],
                showlegend=side == 0,
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
            )
        figure.update_layout(
            {
                f"xaxis{axis}": {"title": "factor", "domain": (0.07, 0.46) if side == 0 else (0.6, 1)},
                f"yaxis{axis}": {"title": title, "anchor": f"x{axis}", "automargin": True},
            }
        )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25}, margin={"l": 50, "b": 60})
    return figure
