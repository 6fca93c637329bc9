"""Figures on fidelity: estimates against exact suppression."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from culnig.figures import (
    ACCENT,
    COOL,
    GRID,
    INK,
    MUTED,
    colours,
    empty_figure,
    error_bars,
    legend_below,
    short_module,
)

POOL_COLOURS = {"MLP": ACCENT, "attention": COOL}


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


def precision(table: pd.DataFrame) -> go.Figure:
    """Precision at k and regret, a panel each: a row for each method, a colour for each pool, with intervals.

    Args:
        table: what `tables.both_strata` gives.
    """
    table = table[table["precision"].notna()]
    methods = list(dict.fromkeys(table["method"]))
    pools = list(dict.fromkeys(table["pool"]))
    titles = {"precision": "precision at k", "regret": "regret (1: the choice holds nothing)"}
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    figure.update_layout(empty_figure(90 + (14 + 16 * len(pools)) * len(methods)).layout)
    for column, (name, title) in enumerate(titles.items(), start=1):
        for number, pool in enumerate(pools):
            part = table[table["pool"] == pool]
            shift = 0.24 * (number - (len(pools) - 1) / 2)
            colour = POOL_COLOURS.get(pool, MUTED)
            figure.add_scatter(
                x=list(part[name]),
                y=[methods.index(method) + shift for method in part["method"]],
                mode="markers",
                name=f"{pool}, k = {part['k'].iloc[0]:,.0f}",
                error_x=error_bars(part[name], part[f"{name}_low"], part[f"{name}_high"], color=colour),
                marker={"size": 9, "color": colour},
                customdata=list(part["method"]),
                hovertemplate=f"%{{customdata}}, {pool}: %{{x:.2f}}<extra></extra>",
                showlegend=column == 1,
                row=1,
                col=column,
            )
        look = {"gridcolor": GRID, "zeroline": False, "fixedrange": True}
        edge = min(1.5, max(1.0, float(table[f"{name}_high"].max())))  # intervals of a regret may be many times as long
        figure.update_xaxes(title=title, range=[-0.02, edge + 0.02], **look, col=column)
    figure.update_yaxes(
        tickvals=list(range(len(methods))),
        ticktext=methods,
        range=[len(methods) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
        fixedrange=True,
    )
    return legend_below(figure)


def exact_and_estimate(neurons: pd.DataFrame, methods: list[str]) -> go.Figure:
    """Exact effect (up) and estimate (right) of each of the best neurons, a panel a method, on axes stretched around 0.

    Args:
        neurons: columns pool, module, layer, neuron, exact, and the methods.
    """
    shown = [method for method in methods if neurons[method].notna().any()]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = make_subplots(rows, columns, subplot_titles=shown, shared_yaxes=True, vertical_spacing=0.3 / rows)
    figure.update_layout(empty_figure(80 + 280 * rows).layout)
    exact = neurons["exact"].to_numpy(dtype=float)
    for i, method in enumerate(shown):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        limits = np.array([max(exact.min(), neurons[method].min()), min(exact.max(), neurons[method].max())])
        line = {"color": MUTED, "width": 1, "dash": "dot"}
        figure.add_scatter(x=_rooted(limits), y=_rooted(limits), mode="lines", line=line, hoverinfo="skip", **place)
        figure.data[-1].showlegend = False
        for pool, part in neurons.groupby("pool", sort=False):
            names = [
                f"{short_module(m)} {i}[{n}]"
                for m, i, n in zip(part["module"], part["layer"], part["neuron"], strict=True)
            ]
            figure.add_scatter(
                x=_rooted(part[method].to_numpy(dtype=float)),
                y=_rooted(part["exact"].to_numpy(dtype=float)),
                mode="markers",
                name=str(pool),
                marker={"size": 5, "color": POOL_COLOURS.get(str(pool), MUTED), "opacity": 0.65},
                customdata=np.stack(
                    [names, part[method].map("{:.2e}".format), part["exact"].map("{:.2e}".format)], axis=1
                ),
                hovertemplate="%{customdata[0]}: estimate %{customdata[1]}, exact %{customdata[2]}<extra></extra>",
                showlegend=i == 0,
                **place,
            )
        figure.update_xaxes(**_ticks(neurons[method].to_numpy(dtype=float)), **place)
    figure.update_yaxes(**_ticks(exact), gridcolor=GRID, zeroline=True, zerolinecolor=MUTED, fixedrange=True)
    figure.update_xaxes(gridcolor=GRID, zeroline=True, zerolinecolor=MUTED, fixedrange=True)
    figure.update_yaxes(title="exact", col=1)
    figure.update_layout(margin={"t": 34})
    figure.update_annotations(font={"size": 12})
    return legend_below(figure)


def _rooted(values: np.ndarray) -> np.ndarray:
    """Signed square roots: large effects stay in sight beside small ones."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _ticks(values: np.ndarray) -> dict[str, object]:
    """Ticks at round numbers on a rooted axis, few enough to be read."""
    low, high = min(0.0, np.nanmin(values)), max(0.0, np.nanmax(values))
    largest = max(-low, high) or 1.0
    step = 10.0 ** np.floor(np.log10(largest))
    marks = [0.0, *(sign * m * step for m in (1.0, 5.0) for sign in (-1, 1))]
    marks = sorted(mark for mark in marks if 1.1 * low <= mark <= 1.1 * high)
    return {
        "tickvals": list(_rooted(np.array(marks))),
        "ticktext": [f"{mark:.0e}" if mark else "0" for mark in marks],
        "tickangle": 0,
    }


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
