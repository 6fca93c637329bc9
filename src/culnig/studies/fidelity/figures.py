"""Figures on fidelity: estimates against exact suppression."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from culnig.figures import GRID, INK, MUTED, colours, empty_figure, error_bars, legend_below, short_module


def agreement_by_module(table: pd.DataFrame) -> go.Figure:
    """Rank correlation with exact suppression, with intervals: a band for each module, a dot for each method.

    Args:
        table: what `fidelity.agreement` gives by module.
    """
    modules, methods = list(dict.fromkeys(table["module"])), list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    figure = empty_figure(110 + 24 * len(modules) * len(methods))
    for m, method in enumerate(methods):
        part = table[table["method"] == method]
        place = {module: i * (len(methods) + 1) + m for i, module in enumerate(modules)}
        figure.add_scatter(
            x=list(part["rho"]),
            y=[place[module] for module in part["module"]],
            mode="markers",
            name=method,
            error_x=error_bars(part["rho"], part["low"], part["high"]),
            marker={"size": 9, "color": colour[method]},
            hovertemplate=f"{method}: %{{x:.2f}}<extra></extra>",
        )
    middle = (len(methods) - 1) / 2
    figure.update_yaxes(
        tickvals=[i * (len(methods) + 1) + middle for i in range(len(modules))],
        ticktext=[short_module(module) for module in modules],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(title="rank correlation with exact suppression", range=[min(-0.1, table["low"].min()), 1.02])
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    return legend_below(figure)


def agreement_by_layer(table: pd.DataFrame) -> go.Figure:
    """Rank correlation by layer, a line with its band for each method."""
    methods = list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    figure = empty_figure(360)
    for method in methods:
        part = table[table["method"] == method].sort_values("layer")
        x = list(part["layer"])
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=[*part["high"], *part["low"][::-1]],
            mode="lines",
            fill="toself",
            fillcolor=colour[method],
            opacity=0.12,
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=x,
            y=list(part["rho"]),
            mode="lines+markers",
            name=method,
            line={"color": colour[method], "width": 2},
            marker={"size": 5},
            hovertemplate=f"{method}, layer %{{x}}: %{{y:.2f}}<extra></extra>",
        )
    figure.update_xaxes(title="layer", showgrid=False)
    figure.update_yaxes(title="rank correlation", range=[min(-0.3, table["low"].min()), 1.04])
    return legend_below(figure)


def groups(table: pd.DataFrame) -> go.Figure:
    """Sum of the estimates (dashed) and exact drop (solid) of each method's top k, a panel a method.

    Args:
        table: columns method, share, estimate, exact.
    """
    methods = list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    columns = min(3, len(methods))
    rows = -(-len(methods) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=methods, shared_xaxes=True, shared_yaxes=True, vertical_spacing=0.13
    )
    figure.update_layout(empty_figure(70 + 230 * rows).layout)
    for i, method in enumerate(methods):
        part, place = table[table["method"] == method], {"row": i // columns + 1, "col": i % columns + 1}
        for column, dash, shade in (("estimate", "dot", MUTED), ("exact", "solid", colour[method])):
            figure.add_scatter(
                x=list(100 * part["share"]),
                y=list(part[column]),
                mode="lines+markers",
                line={"color": shade, "width": 2, "dash": dash},
                marker={"size": 4},
                name={"estimate": "sum of estimates", "exact": "exact, together"}[column],
                hovertemplate=f"{method}, {column}, %{{x:.3g}} %: %{{y:.3f}}<extra></extra>",
                **place,
            )
    # The sums grow without bound; what matters is where they leave the exact drop.
    figure.update_yaxes(type="log", gridcolor=GRID, dtick=1, fixedrange=True)
    figure.update_xaxes(type="log", gridcolor=GRID, ticksuffix=" %", dtick=1, fixedrange=True)
    figure.update_layout(margin={"t": 34})
    figure.update_annotations(font={"size": 12})
    for number in range(columns):  # under the last panel of each column
        below = max(i for i in range(len(methods)) if i % columns == number)
        figure.update_xaxes(showticklabels=True, row=below // columns + 1, col=number + 1)
    return figure
