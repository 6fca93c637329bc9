"""The figure of short answers, in the look of the others."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import ACCENT, INK, QUIET, empty_figure

COLOURS = {"none": INK, "general": ACCENT}


def right_by_language(table: pd.DataFrame) -> go.Figure:
    """Dots with intervals, a band a language.

    Args:
        table: columns condition, language, accuracy, low, high (shares).
    """
    conditions = list(dict.fromkeys(table["condition"]))
    languages = list(dict.fromkeys(table["language"]))
    figure = empty_figure(90 + 16 * len(languages) * len(conditions))
    for c, condition in enumerate(conditions):
        part = table[table["condition"] == condition]
        colour = COLOURS.get(condition, QUIET)
        figure.add_scatter(
            x=100 * part["accuracy"],
            y=[
                languages.index(name) + (c - (len(conditions) - 1) / 2) * 0.8 / len(conditions)
                for name in part["language"]
            ],
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": 100 * (part["high"] - part["accuracy"]),
                "arrayminus": 100 * (part["accuracy"] - part["low"]),
                "color": colour,
                "thickness": 1.6,
                "width": 0,
            },
            marker={"size": 8, "color": colour},
            customdata=part["language"],
            hovertemplate=f"%{{customdata}}, {condition}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(languages))), ticktext=languages, range=[len(languages) - 0.5, -0.5], showgrid=False
    )
    figure.update_xaxes(title="right answers, %", ticksuffix=" %", rangemode="tozero")
    return figure
