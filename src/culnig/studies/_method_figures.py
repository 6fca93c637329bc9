"""Figures that compare scoring methods."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from culnig.figures import ACCENT, GRID, INK, QUIET, WARM_SCALE, empty_figure

PALETTE = ("#2f6690", "#5b8c5a", "#8e6c8a", "#c79a2b", "#3a9ca6", "#7a5c3e", "#a3486b", "#56617a", "#9aa83a", "#d0836b")
TITLES = {
    "culture": "culture drop, points",
    "general": "general drop, points",
    "selectivity": "selectivity: culture − general drop, points",
}


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Method -> colour: CULNIG's own in the accent, random in grey."""
    fixed = {"culnig": ACCENT, "random": QUIET}
    others = [method for method in methods if method not in fixed]
    return {method: PALETTE[i % len(PALETTE)] for i, method in enumerate(others)} | fixed


def short_module(module: str) -> str:
    """ "mlp.gate_proj" -> "gate"."""
    return module.split(".")[-1].removesuffix("_proj")


def legend_below(figure: go.Figure) -> go.Figure:
    """Show the legend under the plot, out of the way of the data."""
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


def curves(table: pd.DataFrame) -> go.Figure:
    """Culture drop, general drop and selectivity along the budget, a line a method with its interval at each point.

    Args:
        table: of one set of modules: columns method, share, and each quantity with `_low` and `_high` (shares).
    """
    methods = list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    figure = make_subplots(3, 1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=list(TITLES.values()))
    figure.update_layout(empty_figure(860).layout)
    spread = 0.012  # intervals side by side, so that they can be told apart on the logarithmic axis
    for m, method in enumerate(methods):
        part = table[table["method"] == method].sort_values("share")
        shift = 10 ** (spread * (m - (len(methods) - 1) / 2))
        for row, quantity in enumerate(TITLES, start=1):
            value = 100 * part[quantity]
            figure.add_scatter(
                x=list(100 * part["share"] * shift),
                y=list(value),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": list(100 * part[f"{quantity}_high"] - value),
                    "arrayminus": list(value - 100 * part[f"{quantity}_low"]),
                    "thickness": 1,
                    "width": 0,
                },
                mode="lines+markers",
                name=method,
                legendgroup=method,
                showlegend=row == 1,
                line={"color": colour[method], "width": 3 if method == "culnig" else 1.6},
                marker={"size": 6},
                customdata=list(100 * part["share"]),
                hovertemplate=f"{method}, %{{customdata:.3g}} %: %{{y:.1f}} points<extra></extra>",
                row=row,
                col=1,
            )
    figure.update_xaxes(type="log", gridcolor=GRID, fixedrange=True, tickvals=sorted(set(100 * table["share"])))
    figure.update_xaxes(ticktext=[f"{100 * share:g} %" for share in sorted(set(table["share"]))])
    figure.update_yaxes(gridcolor=GRID, fixedrange=True, zeroline=True, zerolinecolor=INK, zerolinewidth=1)
    figure.update_xaxes(title="neurons suppressed in each module", row=3, col=1)
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left")
    figure.update_layout(margin={"t": 34})
    return legend_below(figure)


def agreement_bars(table: pd.DataFrame) -> go.Figure:
    """Jaccard index of resampled selections for each method: mean with the range of 95 % of them, and what chance gives.

    Args:
        table: columns method, kind (bootstrap, half), jaccard, jaccard_low, jaccard_high, chance.
    """
    kinds = {"bootstrap": "resampled items, against all", "half": "one half against the other"}
    methods = list(dict.fromkeys(table["method"]))
    figure = empty_figure(120 + 44 * len(methods))
    for offset, (kind, label), colour in zip((-0.15, 0.15), kinds.items(), (ACCENT, PALETTE[0]), strict=True):
        part = table[table["kind"] == kind]
        figure.add_scatter(
            x=list(part["jaccard"]),
            y=[methods.index(method) + offset for method in part["method"]],
            mode="markers",
            name=label,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": list(part["jaccard_high"] - part["jaccard"]),
                "arrayminus": list(part["jaccard"] - part["jaccard_low"]),
                "thickness": 1.6,
                "width": 0,
            },
            marker={"size": 9, "color": colour},
            hovertemplate=f"{label}: %{{x:.2f}}<extra></extra>",
        )
    if len(table):
        figure.add_scatter(
            x=[table[table["method"] == method]["chance"].mean() for method in methods],
            y=list(range(len(methods))),
            mode="markers",
            name="two random sets of these sizes",
            marker={"symbol": "line-ns-open", "size": 12, "color": INK},
        )
    figure.update_yaxes(
        tickvals=list(range(len(methods))), ticktext=methods, range=[len(methods) - 0.4, -0.6], showgrid=False
    )
    figure.update_xaxes(title="Jaccard index", range=[-0.02, 1.02])
    return legend_below(figure)


def overlap(matrix: pd.DataFrame) -> go.Figure:
    """Heat map of the Jaccard indices of the methods' sets."""
    figure = empty_figure(150 + 30 * len(matrix))
    figure.add_heatmap(
        z=matrix.to_numpy(dtype=float),
        x=list(matrix.columns),
        y=list(matrix.index),
        colorscale=WARM_SCALE,
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        texttemplate="%{z:.2f}",
        textfont={"size": 10},
        showscale=False,
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
    )
    figure.update_xaxes(side="top", tickangle=-35, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure
