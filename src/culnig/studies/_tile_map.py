"""A map of the world in small squares, one a country or region, placed by hand: regions have no shape in ISO's maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.data.countries import find
from culnig.figures import DIVERGING, empty_figure

ROWS = """
..... ..... ..... NOR SWE FIN ..... ..... ..... ..... ..... .....
CAN ..... IRL NIR DNK EST LVA RUS ..... ..... ..... .....
USA ..... GBR NLD DEU POL LTU BLR KAZ MNG PRK JPN
..... ..... FRA BEL CZE SVK UKR GEO UZB KGZ KOR .....
CUB PRI AND CHE AUT HUN ROU ARM AZE TJK CHN TWN
MEX ..... ESP ITA SVN HRV SRB BGR TUR AFG NPL HKG
GTM PRT MLT ALB BIH MKD GRC CYP SYR IRN IND-AS MAC
NIC ..... MAR DZA TUN LBY LBN ISR IRQ PAK BGD LAO
COL VEN ..... ..... EGY PSE JOR KWT QAT IND MMR VNM
ECU BRA ..... NGA SDN SAU BHR ARE OMN LKA THA KHM
PER BOL ..... ..... SSD ETH YEM ..... MDV MYS SGP PHL
CHL URY ..... ..... KEN SOM ..... ..... ..... IDN ID-JB TLS
ARG ..... ..... ZWE ..... ..... MUS ..... ..... ..... PNG FJI
..... ..... ..... ZAF ..... ..... ..... ..... ..... AUS TON WSM
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... NZL .....
"""
"""The map: ISO codes (of regions the 3166-2 code, Assam's as IND-AS), row by row from north to south."""
LAND = "#f1eee7"
"""Colour of squares without data."""
SHORT = {"IN-AS": "ASM", "IND-AS": "ASM", "ID-JB": "WJV", "GB-NIR": "NIR"}
"""Codes of regions -> what their squares say."""
PLACES = {
    SHORT.get(code, code): (row, column)
    for row, line in enumerate(ROWS.strip().splitlines())
    for column, code in enumerate(line.split())
    if not code.startswith(".")
}
"""Code -> (row, column) of its square."""


def code_of(name: str) -> str:
    """Return what a group's square says: the ISO code, a region's short name, or the group's own beginning."""
    country = find(name)
    return SHORT.get(country.iso, country.iso) if country else name[:3]


def places_of(names: list[str]) -> dict[str, tuple[int, int]]:
    """Return the square of every group; those that the map does not have stand in rows of their own below it."""
    found = {name: PLACES[code] for name in names if (code := code_of(name)) in PLACES and find(name)}
    rows, columns = (1 + max(place[i] for place in PLACES.values()) for i in (0, 1))
    others = [name for name in names if name not in found]
    return found | {name: (rows + 1 + i // columns, i % columns) for i, name in enumerate(others)}


def tile_map(table: pd.DataFrame, unit: str = "points") -> go.Figure:
    """Draw a square a country, red where accuracy falls and blue where it rises; a frame marks an interval without 0.

    Args:
        table: columns country, a, b, difference, low, high (shares).
        unit: what the numbers are, beside the colour bar.
    """
    rows = {str(row["country"]): row for row in table.to_dict("records")}
    places = places_of(list(rows))
    height, width = (1 + max(place[i] for place in (*PLACES.values(), *places.values())) for i in (0, 1))
    values, land = np.full((height, width), np.nan), np.full((height, width), np.nan)
    cells, names = np.full((height, width), "", dtype=object), np.full((height, width), "", dtype=object)
    for at in PLACES.values():
        land[at] = 0.0
    limit = 100 * max((abs(row["difference"]) for row in rows.values()), default=0.0) or 1.0
    figure = empty_figure(50 + 36 * height, meta={"tab": "countries", "country": True})
    figure.add_heatmap(z=land, colorscale=[[0, LAND], [1, LAND]], xgap=3, ygap=3, showscale=False, hoverinfo="skip")
    for name, at in places.items():
        row = rows[name]
        values[at] = 100 * row["difference"]
        cells[at] = f"{code_of(name)}<br>{100 * row['difference']:+.0f}".replace("-", "−")
        names[at] = name
        if row["low"] > 0 or row["high"] < 0:
            corners = {"x0": at[1] - 0.44, "x1": at[1] + 0.44, "y0": at[0] - 0.44, "y1": at[0] + 0.44}
            figure.add_shape(type="rect", **corners, line={"color": "#1f2430", "width": 1.5})
    figure.add_heatmap(
        z=values,
        text=cells,
        customdata=names,
        colorscale=DIVERGING,
        reversescale=True,
        zmin=-limit,
        zmax=limit,
        xgap=3,
        ygap=3,
        texttemplate="%{text}",
        textfont={"size": 10},
        hoverongaps=False,
        hovertemplate="%{customdata}: %{z:+.1f} points<extra></extra>",
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 10, "outlinewidth": 0},
    )
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5])
    figure.update_yaxes(visible=False, range=[height - 0.5, -0.5])
    return figure
