"""Figures on the stability of a selection."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import ACCENT, QUIET, empty_figure


def frequency_curve(table: pd.DataFrame) -> go.Figure:
    """Selection frequency of every neuron, most frequent first: the chosen set and the others that come up.

    Args:
        table: what `selection.selection_frequency` gives.
    """
    figure = empty_figure(320)
    for chosen, colour, name in ((True, ACCENT, "chosen from all items"), (False, QUIET, "not chosen")):
        part = table[table["chosen"] == chosen].sort_values("frequency", ascending=False)
        figure.add_scatter(
            x=list(range(1, len(part) + 1)),
            y=list(100 * part["frequency"]),
            mode="lines",
            line={"color": colour, "width": 2},
            name=name,
            hovertemplate=f"{name}, neuron %{{x}}: %{{y:.0f}} % of resamples<extra></extra>",
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="neurons, most frequent first")
    figure.update_yaxes(title="chosen in, % of resamples", range=[0, 102])
    return figure


def size_curves(table: pd.DataFrame, along: str, by: str) -> go.Figure:
    """Mean size of a set along one threshold, a line for each value of another.

    Args:
        table: columns `along`, `by` and size; other columns are averaged over.
    """
    figure = empty_figure(320)
    means = table.groupby([by, along])["size"].mean().reset_index()
    for value, part in means.groupby(by):
        figure.add_scatter(x=list(part[along]), y=list(part["size"]), mode="lines+markers", name=f"{by} = {value:g}")
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title=along, tickformat="" if along == "z" else ".2%")
    figure.update_yaxes(title="neurons", rangemode="tozero")
    return figure
