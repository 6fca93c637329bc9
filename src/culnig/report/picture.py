"""The first picture of the page: culture, facts and ability, untouched, suppressed, and under random sets."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import ACCENT, INK, QUIET, ROLE_NAMES, empty_figure, error_bars

ROLES = ("culture", "facts", "ability")
SHOWN = {"none": ("untouched", INK), "culture-general": ("culture neurons off", ACCENT)}
"""Condition -> its name in the picture, and its colour."""
RANDOM = "random neurons off"


def first_picture(accuracy: pd.DataFrame, changed: str = "off") -> go.Figure:
    """Draw one test set of each role, with 95 % intervals; each random set is a dot of its own.

    Args:
        accuracy: columns role, test, condition, accuracy, low, high (shares), as `culture_general` saves them.
        changed: what was done to the neurons, in a word.
    """
    figure = empty_figure(10)
    y, ticks, labels = 0.0, [], []
    for role in ROLES:
        part = accuracy[accuracy["role"] == role]
        part = part[part["test"] == part["test"].iloc[0]] if len(part) else part
        if not len(part):
            continue
        figure.add_annotation(
            x=0,
            y=y,
            xref="paper",
            text=f"<b>{ROLE_NAMES[role]}</b>",
            showarrow=False,
            xanchor="left",
            font={"size": 15},
        )
        y += 0.9
        groups = [(label, colour, part[part["condition"] == name]) for name, (label, colour) in SHOWN.items()]
        groups.append((RANDOM, QUIET, part[part["condition"].str.startswith("random-")]))
        for label, colour, rows in groups:
            label = label.replace("off", changed)
            if not len(rows):
                continue
            offsets = [0.0] if len(rows) == 1 else [0.3 * (2 * i / (len(rows) - 1) - 1) for i in range(len(rows))]
            figure.add_scatter(
                x=list(100 * rows["accuracy"]),
                y=[y + offset for offset in offsets],
                mode="markers",
                name=f"{ROLE_NAMES[role]}, {label}",
                error_x=error_bars(rows["accuracy"], rows["low"], rows["high"], unit=100, color=colour, thickness=2),
                marker={"size": 12 if len(rows) == 1 else 7, "color": colour},
                text=list(rows["condition"]),
                hovertemplate=f"{label} (%{{text}}): %{{x:.1f}} %<extra></extra>",
            )
            ticks.append(y)
            labels.append(label)
            y += 1
        y += 0.4
    figure.update_layout(height=int(60 + 30 * y))
    figure.update_yaxes(tickvals=ticks, ticktext=labels, range=[y - 0.7, -0.5], showgrid=False)
    figure.update_xaxes(title="answered correctly, %", ticksuffix=" %", rangemode="tozero")
    return figure
