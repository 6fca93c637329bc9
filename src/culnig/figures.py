"""Plotly figures with one style: the tools, and the figures that several studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.neurons import MODULES, SHARED_GATE, SHARED_UP, Site

INK, MUTED, GRID = "#1f2430", "#8a8f9c", "#e8e6e1"
ACCENT, COOL, QUIET = "#b5472f", "#2f6690", "#b9bcc4"
WIDE = 30
"""An axis is logarithmic if the largest value is at least this many times the smallest."""
SERIES, SOLID = (INK, ACCENT, COOL, MUTED, "#6a8f3c", "#8a5fa8"), 4
"""Colours of many similar lines; lines after the first `SOLID` are dotted, so that lines under them stay visible."""
PALETTE = ("#2f6690", "#5b8c5a", "#8e6c8a", "#c79a2b", "#3a9ca6", "#7a5c3e", "#a3486b", "#56617a", "#9aa83a", "#d0836b")
WARM_SCALE = [[0.0, "#fbfaf7"], [0.25, "#f3d9c9"], [0.6, "#d98862"], [1.0, "#8f2d17"]]
DIVERGING = [[0.0, "#2f6690"], [0.5, "#fbfaf7"], [1.0, "#b5472f"]]
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Helvetica, Arial, sans-serif"
ROLE_COLOURS = {"culture": ACCENT, "ability": COOL, "facts": "#5b8c5a", "surface": MUTED}
ROLE_NAMES = {
    "culture": "Culture",
    "ability": "Ability",
    "facts": "Facts",
    "surface": "Country reading",
    "task": "Task",
}


def empty_figure(height: int, **layout: object) -> go.Figure:
    """Return an empty figure in the style of the reports, `height` pixels high."""
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
    """Draw dots with intervals: untouched, suppressed and the random controls, with a band for each test set.

    Args:
        table: columns role, test, condition, accuracy, low, high (shares).
    """
    tests = dict(zip(table["test"], table["role"], strict=True))
    names = list(tests)
    rows: list[tuple[str, str, pd.Series]] = []
    for test in names:
        part = table[table["test"] == test].set_index("condition")
        named = [("none", "untouched"), ("culture-general", "culture-general")]
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
                error_x=error_bars(row["accuracy"], row["low"], row["high"], unit=100, color=colour),
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
    """Draw a heat map of the number of neurons in each module (rows) of each layer (columns)."""
    modules = [
        m
        for m in (*MODULES[:2], SHARED_GATE, SHARED_UP, *MODULES[2:])
        if m in shapes and any(site.module == m for site in counts)
    ]
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
    """Draw the paired change of accuracy with intervals for each value of a column, largest loss first."""
    ordered = table.sort_values("difference")
    figure = empty_figure(90 + 24 * len(ordered))
    colours = np.where(ordered["high"] < 0, ACCENT, np.where(ordered["low"] > 0, COOL, MUTED))
    for (_, row), colour in zip(ordered.iterrows(), colours, strict=True):
        figure.add_scatter(
            x=[100 * row["difference"]],
            y=[row[column]],
            error_x=error_bars(row["difference"], row["low"], row["high"], unit=100, color=str(colour)),
            marker={"size": 8, "color": str(colour)},
            hovertemplate=f"{row[column]}: {100 * row['b']:.1f} → {100 * row['a']:.1f} %<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure


def loss_curves(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Draw the training loss by update, with a line for each table and dots where it was validated.

    Args:
        tables: name -> table with the columns step, loss and eval_loss.
    """
    figure = empty_figure(320)
    for number, (name, table) in enumerate(tables.items()):
        colour = SERIES[number % len(SERIES)]
        # The loss of an update is noisy, because it averages only about a dozen answers; a running mean is readable.
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


def error_bars(
    value: pd.Series | float, low: pd.Series | float, high: pd.Series | float, *, unit: float = 1, **look: object
) -> dict[str, object]:
    """Return plotly's error bars from a value to the ends of its interval.

    Args:
        value, low, high: columns of a table, or single numbers.
        unit: factor of all values; 100 gives points.
        **look: colour, thickness and the like.
    """
    above, below = (unit * np.atleast_1d(high - value), unit * np.atleast_1d(value - low))
    bars: dict[str, object] = {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below)}
    return bars | {"thickness": 1.6, "width": 0} | look


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Return method -> colour: the accent colour for CULNIG's own method, grey for random."""
    fixed = {"culnig": ACCENT, "random": QUIET}
    others = [method for method in methods if method not in fixed]
    return {method: PALETTE[i % len(PALETTE)] for i, method in enumerate(others)} | fixed


def short_module(module: str) -> str:
    """Return the short name of a module: "gate" for "mlp.gate_proj"."""
    return module.split(".")[-1].removesuffix("_proj")


def legend_below(figure: go.Figure) -> go.Figure:
    """Move the legend under the plot, where it hides no data."""
    legend = {
        "orientation": "h",
        "y": -60 / figure.layout.height - 0.06,
        "yanchor": "top",
        "x": 0,
        "font": {"size": 12},
    }
    figure.update_layout(showlegend=True, legend=legend, height=figure.layout.height + 70)
    figure.update_layout(margin={"b": 90})
    return figure


def heat_map(grid: pd.DataFrame, unit: str, cell: str) -> go.Figure:
    """Return a heat map of a table; `cell` is the text of a cell."""
    figure = empty_figure(140 + 44 * len(grid))
    figure.add_heatmap(
        z=grid.to_numpy(dtype=float),
        x=list(grid.columns),
        y=[str(name) for name in grid.index],
        colorscale=WARM_SCALE,
        xgap=2,
        ygap=2,
        texttemplate=cell,
        textfont={"size": 10},
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def signed_map(
    grid: pd.DataFrame,
    unit: str,
    *,
    hover: str,
    outlined: Sequence[tuple[str, str]] = (),
    cells: pd.DataFrame | None = None,
    red: Literal["high", "low"] = "high",
) -> go.Figure:
    """Return a heat map of numbers around 0, in red and blue.

    Args:
        grid: the numbers.
        unit: what they are, beside the colour bar.
        hover: plotly's template for a cell under the pointer.
        outlined: cells (row, column) in a frame.
        cells: the text of each cell, as many rows and columns; None is the number.
        red: whether high numbers are red or low ones.
    """
    values = grid.to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    figure = empty_figure(150 + (34 if cells is None else 48) * len(grid))
    figure.add_heatmap(
        z=values,
        x=list(grid.columns),
        y=list(grid.index),
        colorscale=DIVERGING,
        reversescale=red == "low",
        zmin=-limit,
        zmax=limit,
        xgap=2,
        ygap=2,
        text=None if cells is None else cells.to_numpy(),
        texttemplate="%{text}" if cells is not None else "%{z:.2f}" if grid.shape[1] <= 12 else "%{z:.1f}",
        textfont={"size": 10 if cells is None else 12},
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate=f"{hover}<extra></extra>",
    )
    for row, column in outlined:
        i, j = list(grid.index).index(row), list(grid.columns).index(column)
        figure.add_shape(type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": INK, "width": 1.5})
    figure.update_xaxes(side="top", tickangle=-40 if cells is None else 0, showgrid=False, title="")
    figure.update_yaxes(autorange="reversed", showgrid=False, title="")
    return figure


def size_curves(table: pd.DataFrame, along: str, by: str) -> go.Figure:
    """Draw the mean size of a set along one threshold, with a line for each value of another.

    Args:
        table: columns `along`, `by` and size; sizes are averaged over all other columns.
    """
    figure = empty_figure(320)
    means = table.groupby([by, along])["size"].mean().reset_index()
    for value, part in means.groupby(by):
        figure.add_scatter(x=list(part[along]), y=list(part["size"]), mode="lines+markers", name=f"{by} = {value:g}")
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title=along, tickformat="" if along == "z" else ".2%")
    figure.update_yaxes(title="neurons", rangemode="tozero")
    return figure


def on_tab(figure: go.Figure, tab: str) -> go.Figure:
    """Return the figure, marked to stand on a tab of the report that is not its section's."""
    figure.update_layout(meta={"tab": tab})
    return figure
