"""Figures of the further studies."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import ACCENT, COOL, INK, MUTED, QUIET, ROLE_NAMES, WARM_SCALE, empty_figure
from culnig.neurons import MLP_POOL

ROLE_COLOURS = {"culture": ACCENT, "general": COOL, "surface": MUTED}


def changes_by_part(table: pd.DataFrame, column: str) -> go.Figure:
    """Paired changes of accuracy with intervals: a row for each value of a column and role.

    Args:
        table: rows of `studies._compared.metric_table` with `column` before them.
    """
    correct = table[table["metric"] == "correct"]
    figure = empty_figure(120 + 42 * len(correct[[column, "role"]].drop_duplicates()))
    for against, colour in (("untouched", ACCENT), ("random", COOL)):
        part = correct[correct["against"] == against]
        figure.add_scatter(
            x=list(100 * part["difference"]),
            y=[f"{value}: {ROLE_NAMES[role].lower()}" for value, role in zip(part[column], part["role"], strict=True)],
            error_x=_bars(part, "difference", 100),
            mode="markers",
            orientation="h",
            offsetgroup=against,
            marker={"size": 9, "color": colour},
            name=f"against {against}",
        )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.35}, scattermode="group")
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure


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
                error_y=_bars(part, "value", unit),
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


def density_by_layer(sites: pd.DataFrame) -> go.Figure:
    """Selected of 1,000 neurons by layer: MLP and attention side by side."""
    figure = empty_figure(300)
    for name, mask, colour in (
        ("MLP", sites["module"].isin(MLP_POOL), ACCENT),
        ("attention", ~sites["module"].isin(MLP_POOL), COOL),
    ):
        sums = sites[mask].groupby("layer")[["neurons", "width"]].sum()
        density = 1000 * sums["neurons"] / sums["width"]
        figure.add_bar(x=list(sums.index), y=list(density), marker={"color": colour}, name=name)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.3})
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="of 1,000 neurons")
    return figure


def density_map(sites: pd.DataFrame) -> go.Figure:
    """Heat map: selected of 1,000 neurons, modules in rows and layers in columns."""
    grid = sites.pivot(index="module", columns="layer", values="density").reindex(sites["module"].unique()) * 1000
    return _heat(grid, "of 1,000", "%{z:.0f}")


def overlap_map(matrix: pd.DataFrame) -> go.Figure:
    """Heat map of the Jaccard index of every pair of sets."""
    return _heat(matrix, "Jaccard", "%{z:.2f}")


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
            error_y=_bars(part, "difference", 100),
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


def _heat(grid: pd.DataFrame, unit: str, cell: str) -> go.Figure:
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


def _bars(part: pd.DataFrame, value: str, unit: float) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": list(unit * (part["high"] - part[value])),
        "arrayminus": list(unit * (part[value] - part["low"])),
        "thickness": 1.4,
        "width": 0,
    }


def histogram(values: object, title: str, counted: str) -> go.Figure:
    """How often values come up."""
    figure = empty_figure(280)
    figure.add_histogram(x=list(values), nbinsx=40, marker={"color": ACCENT})  # type: ignore[call-overload]
    figure.update_xaxes(title=title)
    figure.update_yaxes(title=counted)
    return figure


def rank_dots(table: pd.DataFrame) -> go.Figure:
    """Ranks of own, related and other countries, a row a set (columns set, own, related, others)."""
    figure = empty_figure(110 + 26 * len(table))
    for column, colour in (("others", QUIET), ("related", COOL), ("own", ACCENT)):
        figure.add_scatter(
            x=list(table[column]),
            y=list(table["set"]),
            mode="markers",
            marker={"size": 10, "color": colour},
            name=column,
        )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.3})
    figure.update_xaxes(title="rank (1: hurt most)")
    figure.update_yaxes(autorange="reversed")
    return figure
