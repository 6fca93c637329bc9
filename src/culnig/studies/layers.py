"""Where culture-general and culture-specific neurons sit: the share and the density of every layer and module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go

from culnig.figures import (
    ACCENT,
    COOL,
    empty_figure,
    heat_map,
    legend_below,
)
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet, Site, number_of_neurons, widths_of
from culnig.studies._base import STUDIES, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._layers_published import LAYERS, MODEL, PAPER, published_beside
from culnig.studies.culture_specific import PREFIX, set_names
from culnig.studies.published import read_published

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

DENSEST = 15
ALL = "all countries"
"""Row of the countries' sets added up; a neuron of two sets counts twice."""


class LayersStudy:
    """Counts, shares of the set, and densities (selected of all the module's neurons) by layer and by module.

    Culture-specific sets are shown where the run has them, each and added up.
    """

    order = 15
    title = "Layers and modules"
    tab = "where"
    titles: ClassVar = {
        "layers-modules": "By module",
        "layers-published": "Beside the published findings",
        "layers-densest": "Densest modules",
        "layers-specific": "Culture-specific sets by module and depth, share of the set",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def analyse(self, run: SavedRun) -> Section:
        neurons, shapes = run.neurons(CULTURE_GENERAL), run.scores("neur").shapes()
        sites = site_table(neurons, shapes)
        by_module, by_layer = (_summed(sites, by) for by in ("module", "layer"))
        depth = _depth(by_layer)
        section = Section(self.title, titles=self.titles)
        densest = sites.sort_values(["neurons", "density"], ascending=False, kind="stable").head(DENSEST)
        section.tables = {
            "layers-sites": sites,
            "layers-modules": by_module,
            "layers-layers": by_layer,
            "layers-densest": densest.reset_index(drop=True),
        }
        section.tables["layers-published"], told = published_beside(sites, number_of_neurons(shapes))
        section.numbers = {
            "share_by_module": dict(zip(by_module["module"], by_module["share"], strict=True)),
            "share_by_layer": list(by_layer["share"]),
            "densest": densest.to_dict("records"),
            "mean_depth": depth,
        }
        section.figures = [
            (
                "Density by layer: selected neurons of 1,000 in the layer's MLP gate (red) and in its queries, keys and"
                " values (blue).",
                density_by_layer(sites),
            ),
            (
                "Density by layer and module: selected of 1,000 neurons of the module.",
                density_map(sites),
            ),
            (
                f"Gate neurons by depth, beside the published set of Gemma 3 12B ({PAPER}; its densest seven layers are known): how"
                " many times as many as an even spread of the set over all layers would give.",
                beside_published(sites),
            ),
        ]
        top = densest.iloc[0] if len(densest) else None
        where = (
            f" The module with the most is {top['module']} of layer {top['layer']} ({top['neurons']:,})."
            if top is not None
            else ""
        )
        mlp = by_module[by_module["module"].isin(MLP_POOL)]["share"].sum()
        section.text = [
            f"{mlp:.0%} of the {len(neurons):,} neurons are in MLP modules, {1 - mlp:.0%} in attention. By layer, the first"
            f" third holds {depth['first_third']:.0%}, the middle third {depth['middle_third']:.0%}, the last"
            f" {depth['last_third']:.0%}.{where}",
            *told,
        ]
        if set_names(run):
            _add_specific(section, run, shapes)
        return section


STUDIES.register("layers")(LayersStudy())


def _add_specific(section: Section, run: SavedRun, shapes: dict[str, tuple[int, int]]) -> None:
    """Add the countries' sets: a row a country by module and third of the layers, and a map by country and layer."""
    countries = {name.removeprefix(PREFIX): site_table(run.neurons(name), shapes) for name in set_names(run)}
    first = next(iter(countries.values()))
    count = pd.concat([table["neurons"] for table in countries.values()], axis=1).sum(axis=1)
    everyone = first.assign(neurons=count, share=count / count.sum(), density=count / first["width"])
    rows, by_layer = [], {}
    for country, sites in (countries | {ALL: everyone}).items():
        modules, layers = (_summed(sites, by) for by in ("module", "layer"))
        row = {"country": country, "neurons": int(sites["neurons"].sum())}
        rows.append(row | dict(zip(modules["module"], modules["share"], strict=True)) | _depth(layers))
        by_layer[country] = layers.set_index("layer")["share"]
    table, shares = pd.DataFrame(rows), pd.DataFrame(by_layer).T
    section.tables |= {
        "layers-specific": table,
        "layers-specific-sites": pd.concat([sites.assign(country=name) for name, sites in countries.items()]),
        "layers-specific-layers": shares.rename_axis("country").reset_index().rename(columns=str),
    }
    section.numbers["specific"] = rows
    caption = "Culture-specific sets: share of each country's set in every layer, %."
    section.figures.append((caption, heat_map(100 * shares, "% of the set", "%{z:.0f}")))
    together = rows[-1]
    section.text.append(
        f"The {len(countries)} culture-specific sets hold {together['neurons']:,} neurons, those of several countries"
        f" counted in each. Of these, {sum(together.get(m, 0.0) for m in MLP_POOL):.0%} are in MLP modules; by layer,"
        f" the first third holds {together['first_third']:.0%}, the middle third {together['middle_third']:.0%}, the"
        f" last {together['last_third']:.0%}."
    )


def site_table(neurons: NeuronSet, shapes: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Every module of every layer that selection looks at: neurons, share of the set, width, density (neurons / width)."""
    counts, total = neurons.counts(), max(1, len(neurons))
    rows: list[dict[str, Any]] = []
    for module in (*MLP_POOL, *ATTENTION_POOL):
        for layer, width in enumerate(widths_of(shapes.get(module, (0, 0)))):
            if not width:  # a layer without this module
                continue
            count = counts.get(Site(module, layer), 0)
            rows.append(
                {
                    "module": module,
                    "layer": layer,
                    "neurons": count,
                    "share": count / total,
                    "width": width,
                    "density": count / width,
                }
            )
    return pd.DataFrame(rows)


def _summed(sites: pd.DataFrame, by: str) -> pd.DataFrame:
    table = sites.groupby(by, sort=by == "layer")[["neurons", "share", "width"]].sum().reset_index()
    return table.assign(density=table["neurons"] / table["width"])


def _depth(by_layer: pd.DataFrame) -> dict[str, float]:
    """Share of the set in each third of the layers."""
    thirds = (3 * by_layer["layer"]) // len(by_layer)
    names = ("first_third", "middle_third", "last_third")
    return {name: float(by_layer["share"][thirds == i].sum()) for i, name in enumerate(names)}


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


def beside_published(sites: pd.DataFrame, model: str = MODEL) -> go.Figure:
    """Gate neurons of the set by relative depth, as a multiple of an even spread, and what is published of a model."""
    gates = sites[sites["module"].isin(MLP_POOL)]
    layers = int(sites["layer"].max()) + 1
    published = read_published()["models"][model]
    found, total = published["gates"], published["neurons"]
    figure = empty_figure(300)
    figure.add_scatter(
        x=list(gates["layer"] / (layers - 1 or 1)),
        y=list(layers * gates["share"]),
        mode="lines+markers",
        name="this run",
        line={"color": ACCENT},
    )
    figure.add_scatter(
        x=[layer / (LAYERS - 1) for layer in found],
        y=[LAYERS * count / total for count in found.values()],
        mode="markers",
        name=f"published, {model}",
        marker={"color": COOL, "size": 10, "symbol": "diamond"},
        text=[f"layer {layer}: {count} neurons" for layer, count in found.items()],
    )
    figure.update_xaxes(title="depth: 0 is the first layer, 1 the last", range=[-0.03, 1.03])
    figure.update_yaxes(title="times an even spread", rangemode="tozero")
    return legend_below(figure)


def density_map(sites: pd.DataFrame) -> go.Figure:
    """Heat map: selected of 1,000 neurons, modules in rows and layers in columns."""
    grid = sites.pivot(index="module", columns="layer", values="density").reindex(sites["module"].unique()) * 1000
    return heat_map(grid, "of 1,000", "%{z:.0f}")
