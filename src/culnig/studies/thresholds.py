"""Thresholds: how large the sets get over t, r and z, and what a few settings of t and r cost; nothing is scored again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.figures import (
    QUIET,
    ROLE_COLOURS,
    ROLE_NAMES,
    empty_figure,
    error_bars,
    size_curves,
)
from culnig.neurons import NeuronSet
from culnig.selection import size_general, size_specific, sweep_general
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._metric_table import ROLES, changes, metric_table

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class ThresholdsSettings(Settings):
    """Study `thresholds`: sizes over a grid, and the drop at the settings in which one threshold moves alone."""

    t: list[float] = Field([0.0025, 0.005, 0.01, 0.02], min_length=1, description="of the MLP; attention in proportion")
    r: list[float] = Field([0.0, 0.01, 0.05], min_length=1)
    z: list[float] = Field([0.0, 0.5, 1.0, 1.5], min_length=1, description="of culture-specific sets")


class ThresholdsStudy:
    """Sizes over the whole grid; the drop where one of t and r moves and the other is the run's own."""

    settings = ThresholdsSettings
    section = "thresholds"
    order = 45
    title = "Thresholds"
    titles: ClassVar = {
        "thresholds-changes": "Changes by setting",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        rule = run.config.culture_general.model_dump()
        preset = rule.pop("preset")
        named = settings(run.config)
        plain = run.scores("ability") if run.config.identify.ability else None
        swept = sweep_general(
            run.scores("neur"),
            run.scores("ctrl"),
            run.scores("crc"),
            [rule | setting for setting in named.values()],
            preset=preset,
            ability=plain,
        )
        sets = {_set_of(name, run.config): chosen for name, (_, chosen) in zip(named, swept, strict=True)}
        return sets | ({CULTURE_GENERAL: culture_general_set(run)} if CULTURE_GENERAL in sets else {})

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [c for c in self.planned(run.config, []) if c.neurons is None or len(run.neurons(c.neurons))]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = [_set_of(name, config) for name in settings(config)]
        return [UNTOUCHED, *(Condition(n, n, config.operation, ROLES) for n in names)]

    def analyse(self, run: SavedRun) -> Section:
        sizes, specific = _sizes(run)
        rows = []
        for name in settings(run.config):
            if size := len(run.neurons(made := _set_of(name, run.config))):
                rows += metric_table(run, made, where={"setting": name, "size": size})
        section = Section(self.title, titles=self.titles)
        section.tables = {"thresholds-culture-general": sizes, "thresholds-culture-specific": specific}
        section.figures = [
            ("Size of the culture-general set over t, for each r.", size_curves(sizes, "t_mlp", "r")),
            (
                "Mean size of the culture-specific sets over z, for each t.",
                size_curves(specific, "z", "t"),
            ),
        ]
        section.text = [
            "t moves for the MLP pool, the attention pool's share in proportion; what is not named is the run's own rule."
        ]
        if rows:
            table = pd.DataFrame(rows)
            section.tables["thresholds-changes"] = table
            section.numbers = {"changes": changes(table, "setting")}
            section.figures.append(
                (
                    "Change of accuracy by the size of the suppressed set, with 95 % intervals.",
                    size_and_drop(table),
                )
            )
        return section


STUDIES.register("thresholds")(ThresholdsStudy())


def settings(config: RunSettings) -> dict[str, dict[str, Any]]:
    """Name -> thresholds of the settings that are evaluated."""
    ratio = config.culture_general.t_attn / config.culture_general.t_mlp
    taken = {f"t={t:g}": {"t_mlp": t, "t_attn": min(1.0, ratio * t)} for t in config.section(ThresholdsSettings).t}
    return taken | {f"r={r:g}": {"r": r} for r in config.section(ThresholdsSettings).r if r != config.culture_general.r}


def _set_of(name: str, config: RunSettings) -> str:
    """Name of a setting's set, and of its condition: the run's own rule gives the culture-general set."""
    own = {
        "t_mlp": config.culture_general.t_mlp,
        "t_attn": config.culture_general.t_attn,
        "r": config.culture_general.r,
    }
    return CULTURE_GENERAL if own | settings(config)[name] == own else f"sweep-{name}"


def _sizes(run: SavedRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    rule, grid = run.config.culture_general, run.config.section(ThresholdsSettings)
    scores = run.scores("neur"), run.scores("ctrl"), run.scores("crc")
    plain = run.scores("ability") if run.config.identify.ability else None
    general = size_general(
        *scores,
        t_mlp=grid.t,
        r=grid.r,
        attention_ratio=rule.t_attn / rule.t_mlp,
        preset=rule.preset,
        ability=plain,
    )
    own = run.config.culture_specific
    specific = size_specific(
        *scores, t=sorted({own.t / 3, own.t, min(1.0, 3 * own.t)}), r=[own.r], z=grid.z, preset=own.preset
    )
    return general, specific


def size_and_drop(table: pd.DataFrame) -> go.Figure:
    """Size of the set (x) against the change of accuracy with its interval (y), each setting labelled.

    Args:
        table: columns setting, size, and those of `metric_table`; rows against the untouched model.
    """
    figure = empty_figure(380)
    for role, part in table[table["metric"] == "correct"].groupby("role"):
        part = part.sort_values("size")
        figure.add_scatter(
            x=list(part["size"]),
            y=list(100 * part["difference"]),
            error_y=error_bars(part["difference"], part["low"], part["high"], unit=100, thickness=1.4),
            mode="lines+markers+text",
            text=list(part["setting"]) if role == "culture" else None,
            textposition="top right",
            textfont={"size": 10},
            line={"color": ROLE_COLOURS[role]},
            name=ROLE_NAMES[role],
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.3})
    figure.update_xaxes(title="neurons in the set", type="log", dtick=math.log10(2), tick0=0)
    figure.update_yaxes(title="change of accuracy, points")
    return figure
