"""The figures of the report, as plotly figures with one look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from culnig.neurons import MODULES, Site

INK, MUTED, GRID = "#1f2430", "#8a8f9c", "#e8e6e1"
ACCENT, COOL, QUIET = "#b5472f", "#2f6690", "#b9bcc4"
WIDE = 30
"""Largest over smallest value from which on an axis is logarithmic."""
SERIES, SOLID = (INK, ACCENT, COOL, MUTED, "#6a8f3c", "#8a5fa8"), 4
"""Colours of things that are many and alike; lines after so many are dotted, for those that lie on another."""
WARM_SCALE = [[0.0, "#fbfaf7"], [0.25, "#f3d9c9"], [0.6, "#d98862"], [1.0, "#8f2d17"]]
DIVERGING = [[0.0, "#2f6690"], [0.5, "#fbfaf7"], [1.0, "#b5472f"]]
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Helvetica, Arial, sans-serif"
ROLE_NAMES = {
    "culture": "Culture",
    "general": "Plain language ability",
    "surface": "Country reading",
    "task": "Task",
}


def empty_figure(height: int, **layout: object) -> go.Figure:
    """A figure in the reports' look, of so many pixels height, with nothing on it."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 16, "t": 12, "b": 10},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"font": {"family": FONT}},
        **layout,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, fixedrange=True, linecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, fixedrange=True, linecolor=GRID)
    return figure


def accuracy_by_condition(table: pd.DataFrame) -> go.Figure:
    """Dots with intervals: untouched, suppressed, and the random controls, a band for each test set.

    Args:
        table: columns role, test, condition, accuracy, low, high (shares).
    """
    tests = dict(zip(table["test"], table["role"], strict=True))
    names = list(tests)
    rows: list[tuple[str, str, pd.Series]] = []
    for test in names:
        part = table[table["test"] == test].set_index("condition")
        named = [("none", "untouched"), ("general", "culture-general")]
        rows += [(test, label, part.loc[name]) for name, label in named if name in part.index]
        random = part[part.index.str.startswith("random")]
        rows += [(test, f"random {i + 1}", row) for i, (_, row) in enumerate(random.iterrows())]
    figure = empty_figure(70 + 26 * len(rows) + 20 * len(names))
    colours = {"untouched": INK, "culture-general": ACCENT}
    y, ticks, labels = 0.0, [], []
    for test in names:
        y += 0.9
        figure.add_annotation(
            x=0,
            y=y - 0.75,
            xref="paper",
            text=f"<b>{ROLE_NAMES[tests[test]]}</b> ({test})",
            showarrow=False,
            xanchor="left",
            yanchor="middle",
        )
        for _, label, row in [r for r in rows if r[0] == test]:
            colour = colours.get(label, QUIET)
            figure.add_scatter(
                x=[100 * row["accuracy"]],
                y=[y],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (row["high"] - row["accuracy"])],
                    "arrayminus": [100 * (row["accuracy"] - row["low"])],
                    "color": colour,
                    "thickness": 1.6,
                    "width": 0,
                },
                marker={"size": 10 if label in colours else 7, "color": colour},
                hovertemplate=f"{label}: %{{x:.1f}} %<extra></extra>",
            )
            ticks.append(y)
            labels.append(label)
            y += 1
    figure.update_yaxes(tickvals=ticks, ticktext=labels, range=[y - 0.4, -0.4], showgrid=False)
    figure.update_xaxes(title="accuracy, %", ticksuffix=" %")
    return figure


def layer_map(counts: Mapping[Site, int], shapes: Mapping[str, tuple[int, int]]) -> go.Figure:
    """Heat map of the number of neurons in each module (rows) of each layer (columns)."""
    modules = [m for m in MODULES if m in shapes and any(site.module == m for site in counts)]
    modules += sorted({site.module for site in counts} - set(modules))
    layers = max(shapes[m][0] for m in modules) if modules else 1
    grid = np.array([[counts.get(Site(m, layer), 0) for layer in range(layers)] for m in modules])
    figure = empty_figure(120 + 44 * max(1, len(modules)))
    figure.add_heatmap(
        z=grid,
        x=list(range(layers)),
        y=[m.split(".")[-1] for m in modules],
        colorscale=WARM_SCALE,
        xgap=2,
        ygap=2,
        text=np.where(grid > 0, grid.astype(str), ""),
        texttemplate="%{text}",
        textfont={"size": 10},
        showscale=False,
        hovertemplate="layer %{x}, %{y}: %{z} neurons<extra></extra>",
    )
    figure.update_xaxes(title="layer", showgrid=False, dtick=5 if layers > 16 else 1)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def change_by(table: pd.DataFrame, column: str) -> go.Figure:
    """Paired change of accuracy with intervals for each value of a column, largest loss first."""
    ordered = table.sort_values("difference")
    figure = empty_figure(90 + 24 * len(ordered))
    colours = np.where(ordered["high"] < 0, ACCENT, np.where(ordered["low"] > 0, COOL, MUTED))
    for (_, row), colour in zip(ordered.iterrows(), colours, strict=True):
        figure.add_scatter(
            x=[100 * row["difference"]],
            y=[row[column]],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (row["high"] - row["difference"])],
                "arrayminus": [100 * (row["difference"] - row["low"])],
                "color": str(colour),
                "thickness": 1.6,
                "width": 0,
            },
            marker={"size": 8, "color": str(colour)},
            hovertemplate=f"{row[column]}: {100 * row['b']:.1f} → {100 * row['a']:.1f} %<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure


def drop_map(matrix: pd.DataFrame, unit: str, *, diagonal: bool = False) -> go.Figure:
    """Heat map of a drop matrix, sets in rows and countries in columns; red is a drop, blue a gain."""
    values = matrix.to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    figure = empty_figure(150 + 34 * len(matrix))
    figure.add_heatmap(
        z=values,
        x=list(matrix.columns),
        y=list(matrix.index),
        colorscale=DIVERGING,
        zmin=-limit,
        zmax=limit,
        xgap=2,
        ygap=2,
        texttemplate="%{z:.2f}" if matrix.shape[1] <= 12 else "%{z:.1f}",
        textfont={"size": 10},
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="set of %{y}, items of %{x}: %{z:.3f}<extra></extra>",
    )
    for i, name in enumerate(matrix.index):
        if name in matrix.columns and (diagonal or matrix.shape[1] > len(matrix)):
            j = list(matrix.columns).index(name)
            figure.add_shape(
                type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": INK, "width": 1.5}
            )
    figure.update_xaxes(side="top", tickangle=-40, showgrid=False, title="")
    figure.update_yaxes(autorange="reversed", showgrid=False, title="")
    return figure


def loss_curves(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Training loss by update, a line for each table (columns step, loss, eval_loss); dots where it was validated."""
    figure = empty_figure(320)
    for number, (name, table) in enumerate(tables.items()):
        colour = SERIES[number % len(SERIES)]
        # A dozen answers an update make a rough curve; the running mean is what can be read.
        smooth = table["loss"].rolling(max(1, len(table) // 20), min_periods=1).mean()
        line = {"color": colour, "width": 2, "dash": "solid" if number < SOLID else "dot"}
        figure.add_scatter(x=table["step"], y=smooth, mode="lines", name=name, line=line)
        checked = table.dropna(subset=["eval_loss"])
        if len(checked):
            figure.add_scatter(
                x=checked["step"],
                y=checked["eval_loss"],
                mode="markers",
                name=f"{name}, held out",
                marker={"color": colour, "size": 9},
            )
    figure.update_layout(showlegend=len(tables) > 1, legend={"orientation": "h", "y": -0.25})
    figure.update_xaxes(title="update")
    figure.update_yaxes(title="loss (running mean)")
    seen = [value for trace in figure.data for value in trace.y if value > 0]
    if seen and max(seen) > WIDE * min(seen):
        figure.update_yaxes(type="log", dtick=1, tickformat="~g")
    return figure


def gain_against_loss(table: pd.DataFrame) -> go.Figure:
    """Change on culture, and on general ability, against gain on the task; a point an arm with intervals both ways.

    Args:
        table: columns arm, and change, low and high of task, culture and, if measured, general ("task change",
            "culture low", ...), as shares.
    """
    titles = {"culture": "change on culture, points", "general": "change on general ability, points"}
    roles = [role for role in titles if f"{role} change" in table]
    figure = make_subplots(cols=len(roles), subplot_titles=[titles[role] for role in roles], horizontal_spacing=0.09)
    figure.update_layout(empty_figure(380).layout, margin_t=36)
    for column, role in enumerate(roles, start=1):
        for number, (_, row) in enumerate(table.iterrows()):
            figure.add_scatter(**_arm(row, role, number), row=1, col=column)
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="gain on the task, points", gridcolor=GRID, zeroline=False, fixedrange=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, fixedrange=True, automargin=True)
    figure.update_annotations(font_size=13)
    return figure


def _arm(row: pd.Series, role: str, number: int) -> dict[str, Any]:
    """A point with two intervals."""
    colour = SERIES[number % len(SERIES)]
    bars = {
        axis: {
            "type": "data",
            "symmetric": False,
            "array": [100 * (row[f"{of} high"] - row[f"{of} change"])],
            "arrayminus": [100 * (row[f"{of} change"] - row[f"{of} low"])],
            "color": colour,
            "thickness": 1.4,
            "width": 0,
        }
        for axis, of in (("error_x", "task"), ("error_y", role))
    }
    return bars | {
        "x": [100 * row["task change"]],
        "y": [100 * row[f"{role} change"]],
        "mode": "markers+text",
        "text": [row["arm"]],
        # Arms that learn alike lie close together.
        "textposition": ("top right", "bottom left", "bottom right", "top left", "bottom center")[number % 5],
        "textfont": {"color": colour},
        "marker": {"size": 10, "color": colour},
        "hovertemplate": f"{row['arm']}: task %{{x:+.1f}}, {role} %{{y:+.1f}} points<extra></extra>",
    }
