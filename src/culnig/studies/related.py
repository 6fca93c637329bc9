"""Related countries: whom does a country's set hurt besides its own, and do near countries suffer more?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.data.countries import find
from culnig.data.distances import KINDS, distance_matrix
from culnig.figures import (
    ACCENT,
    COOL,
    QUIET,
    empty_figure,
)
from culnig.neurons import NeuronSet
from culnig.statistics.matrices import beyond_expected, double_centre, mantel
from culnig.studies._base import STUDIES, Condition, Section
from culnig.studies.culture_specific import CultureSpecificStudy, drop_matrix, nothing_selected, set_names

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

FEWEST = 4
"""Countries below which nothing is correlated."""


class RelatedStudy:
    """Drops in log-odds beyond the expected (`culture_specific`), against three distances between countries."""

    order = 25
    needs = ("culture",)
    title = "Related countries"
    tab = "countries"
    titles: ClassVar = {
        "related-ranks": "Ranks of own and related countries",
        "related-distances": "Drops and distances",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return CultureSpecificStudy().select(run)

    def conditions(self, run: SavedRun) -> list[Condition]:
        return CultureSpecificStudy().conditions(run)

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return CultureSpecificStudy().planned(config, countries)

    def analyse(self, run: SavedRun) -> Section:
        if not set_names(run):
            return nothing_selected(self.title, run)
        raw = drop_matrix(run, "log_odds")
        own = np.equal.outer(raw.index.to_numpy(), raw.columns.to_numpy())
        beyond = pd.DataFrame(beyond_expected(raw.to_numpy(), own), raw.index, raw.columns)
        ranks, tests = _rank_table(beyond), _distance_tests(raw, run.config.seed)
        section = Section(self.title, titles=self.titles)
        section.tables = {"related-ranks": ranks, "related-distances": tests}
        section.numbers = {
            "distances": tests.replace({np.nan: None}).to_dict("records"),
            "ranks": ranks.replace({np.nan: None}).to_dict("records"),
        }
        section.figures = [
            (
                "Mean rank of the own country, of those in its cultural cluster, and of all others, for each country's set"
                " (1: hurt most; drops in log-odds, minus what strength, fragility and their product let expect).",
                rank_dots(ranks),
            )
        ]
        means = ranks[["own", "related", "others"]].mean().dropna()
        whose = {"own": "the own country", "related": "countries of its cultural cluster", "others": "all others"}
        section.text = [
            f"Mean rank among {raw.shape[1]} countries: "
            + ", ".join(f"{whose[who]} {mean:.1f}" for who, mean in means.items())
            + ". A negative correlation below means that"
            " near countries suffer more; p by permuting countries (Mantel, one-sided).",
            *(_sentence(row) for row in tests.to_dict("records")),
        ]
        return section


STUDIES.register("related")(RelatedStudy())


def _rank_table(centred: pd.DataFrame) -> pd.DataFrame:
    ranked = centred.rank(axis=1, ascending=False)
    rows = []
    for country, ranks in ranked.iterrows():
        others = ranks.drop(country, errors="ignore")
        cluster = _cluster(str(country))
        same = [name for name in others.index if cluster and _cluster(name) == cluster]
        rows.append(
            {
                "set": country,
                "own": float(ranks.get(country, np.nan)),
                "related": float(others[same].mean()),
                "others": float(others.drop(same).mean()),
                "in its cluster": ", ".join(same),
            }
        )
    return pd.DataFrame(rows)


def _cluster(name: str) -> str:
    country = find(name)
    return country.cluster if country else ""


def _distance_tests(raw: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Each distance over the countries that have a set, items and an entry; the square is fitted anew."""
    rows = []
    both = [country for country in raw.index if country in raw.columns]
    for kind in KINDS:
        whole = distance_matrix(kind, both)
        known = [c for c, country in enumerate(both) if not np.isnan(whole[c, c])]
        names = [both[c] for c in known]
        missing = ", ".join(country for country in both if country not in names)
        row: dict[str, Any] = {"distance": kind, "countries": len(names), "spearman": np.nan, "p": np.nan}
        old = {"spearman (double-centred)": np.nan, "p (double-centred)": np.nan}
        if len(names) >= FEWEST:
            square, distances = raw.loc[names, names].to_numpy(), whole[np.ix_(known, known)]
            beyond = beyond_expected(square, np.eye(len(names), dtype=bool))
            row |= zip(("spearman", "p"), mantel(beyond, distances, seed=seed), strict=True)
            old = dict(zip(old, mantel(double_centre(square), distances, seed=seed), strict=True))
        rows.append(row | old | {"without": missing})
    return pd.DataFrame(rows)


def _sentence(row: Mapping[Any, Any]) -> str:
    without = f" (no figure for {row['without']})" if row["without"] else ""
    if row["spearman"] != row["spearman"]:
        return f"{str(row['distance']).capitalize()} distance: only {row['countries']} countries, too few{without}."
    return (
        f"{str(row['distance']).capitalize()} distance, {row['countries']} countries{without}: Spearman"
        f" {row['spearman']:+.2f}, p = {row['p']:.2g}."
    )


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
