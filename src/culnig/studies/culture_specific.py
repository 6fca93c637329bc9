"""Culture-specific neurons: does suppressing a country's set hurt that country more than others?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.data.countries import TARGETS
from culnig.evaluation import EvalResult
from culnig.figures import signed_map
from culnig.neurons import NeuronSet
from culnig.selection import select_specific
from culnig.statistics.matrices import double_centre, own_country_effect
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._guards import add_guards

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

PREFIX = "specific-"
FEWEST = 3
"""Countries below which the own-country effect is not tested."""
UNITS = {"log_odds": "log-odds (nats)", "p_gold": "probability", "correct": "share of items"}


class CultureSpecificStudy:
    """Suppress each country's set, and see which countries' items suffer.

    Drops are measured in the gold option's log-odds and probability, which move where accuracy over a few dozen items
    is noise.  Each set's general strength and each country's general fragility are removed by double-centring, and the
    diagonal is tested by permutation (METHOD section 9).
    """

    order = 20
    needs = ("culture",)
    title = "Culture-specific neurons"
    titles: ClassVar = {
        "specific-sets": "Culture-specific sets",
        "specific-guard-verdicts": "Guards: does the model still work?",
        "specific-own-country": "Own-country effect",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        rule = run.config.culture_specific.model_dump()
        sets = select_specific(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), **rule)
        return {PREFIX + country: neurons for country, neurons in sets.items()}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return country_conditions(run.config, set_names(run))

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        targets = [country for country in countries if country in TARGETS] or countries
        return country_conditions(config, [PREFIX + country for country in targets])

    def analyse(self, run: SavedRun) -> Section:
        if not set_names(run):
            return nothing_selected(self.title, run)
        section = Section(self.title, titles=self.titles)
        matrices = {metric: drop_matrix(run, metric) for metric in UNITS}
        for metric, matrix in matrices.items():
            section.tables[f"specific-drop-{metric.replace('_', '-')}"] = matrix.rename_axis("set").reset_index()
        tests = pd.DataFrame([own_country(run, matrix, metric) for metric, matrix in matrices.items()])
        section.tables["specific-own-country"] = tests
        section.tables["specific-sets"] = _set_table(run, matrices["log_odds"])
        raw = matrices["log_odds"]
        targets = [country for country in raw.index if country in raw.columns]
        own_first = raw[[*targets, *(c for c in raw.columns if c not in targets)]]
        square = raw.loc[targets, targets]
        centred = pd.DataFrame(double_centre(square.to_numpy()), square.index, square.columns)
        section.figures = [
            (
                f"Drop of each country's log-odds (columns) under {run.config.done.noun} of a country's set (rows).",
                drop_map(own_first, "drop in log-odds"),
            ),
            (
                "The same for the target countries, double-centred: what is left when each set's strength and each"
                " country's fragility are taken out. The diagonal is the own-country effect.",
                drop_map(centred, "centred drop", diagonal=True),
            ),
        ]
        section.numbers = {"own_country": tests.to_dict("records"), "sizes": sizes(run)}
        main = tests.set_index("metric").loc["log_odds"]
        section.text = [
            _verdict(main, len(targets)),
            "With a few dozen questions a country and this small a model, an absent effect is not evidence of absence;"
            " the probability and accuracy versions stand in the tables.",
        ]
        add_guards(section, run, set_names(run), prefix="specific-")
        if len(targets) >= FEWEST:
            section.findings = [
                Finding(
                    "own-country effect", f"{main['effect']:+.2f} nats", f"permutation p = {main['p']:.2g}; log-odds"
                )
            ]
        return section


STUDIES.register("culture_specific")(CultureSpecificStudy())


def nothing_selected(title: str, run: SavedRun) -> Section:
    """Return the section of a run in which no country's set holds a neuron."""
    rule = run.config.culture_specific
    said = f"No country set reached the thresholds (culture_specific: t = {rule.t:g}, r = {rule.r:g}, z = {rule.z:g})."
    return Section(title, text=[said], numbers={"sizes": sizes(run)})


def _verdict(main: pd.Series, countries: int) -> str:
    """Return what the test in log-odds says."""
    if countries < FEWEST:
        return (
            f"Neurons were found for {countries} of the countries with test items; the own-country effect is tested from"
            f" {FEWEST} on."
        )
    verdict = "hurts its own country more than others" if main["p"] < 0.05 else "shows no clear own-country effect"
    return (
        f"Over the {countries} target countries, suppressing a country's set {verdict}: own-country effect"
        f" {main['effect']:+.3f} {UNITS['log_odds']} after double-centring, permutation p = {main['p']:.3g}; mean rank"
        f" of the own country {main['mean_rank']:.1f} of {countries} ({(countries + 1) / 2:.1f} by chance)."
    )


def country_conditions(
    config: RunSettings, names: list[str], targets: tuple[str, ...] | None = None
) -> list[Condition]:
    """The untouched model, and each country's set suppressed on the items that `specific_test` says.

    Args:
        config: the run's settings.
        names: names of the sets.
        targets: the countries that have a set; None takes them from names that begin with `PREFIX`.
    """
    targets = targets or tuple(name.removeprefix(PREFIX) for name in names)
    countries = targets if config.specific_test == "targets" else None
    return [UNTOUCHED, *(Condition(n, n, config.operation, ("culture",), countries) for n in names)]


def set_names(run: SavedRun, prefix: str = PREFIX) -> list[str]:
    """Names of the countries' sets that hold any neuron, in the countries' order; a prefix names another kind of them."""
    return [name for name in run.set_names(prefix) if len(run.neurons(name))]


def sizes(run: SavedRun, prefix: str = PREFIX) -> dict[str, int]:
    """Country -> neurons in its set, empty sets included."""
    return {name.removeprefix(prefix): len(run.neurons(name)) for name in run.set_names(prefix)}


def drop_matrix(run: SavedRun, metric: str, prefix: str = PREFIX) -> pd.DataFrame:
    """Mean of a metric without suppression minus with: [sets, countries]; of the sets whose names begin with a prefix."""

    def by_country(result: EvalResult | None) -> pd.Series:
        assert result is not None
        return result.rows.groupby("country")[metric].mean()

    untouched = by_country(run.result("culture", "none"))
    names = set_names(run, prefix)
    drops = {name.removeprefix(prefix): untouched - by_country(run.result("culture", name)) for name in names}
    return pd.DataFrame(drops).T.dropna(axis=1)  # a country without items under the sets is no column


def own_and_others(matrix: pd.DataFrame) -> pd.DataFrame:
    """A row a set of a drop matrix: the drop of its own country, and the mean drop of the others."""
    rows = {
        country: {"own": matrix.loc[country, country], "others": matrix.loc[country].drop(country).mean()}
        for country in matrix.index
        if country in matrix.columns
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["own", "others"])


def own_country(run: SavedRun, matrix: pd.DataFrame, metric: str) -> dict[str, float | str | int]:
    """The own-country effect of a drop matrix with its test; NaN below three countries."""
    targets = [country for country in matrix.index if country in matrix.columns]
    if len(targets) < FEWEST:
        nan = float("nan")
        return {
            "metric": metric,
            "unit": UNITS[metric],
            "countries": len(targets),
            "effect": nan,
            "p": nan,
            "mean_rank": nan,
        }
    test = own_country_effect(matrix.loc[targets, targets].to_numpy(), seed=run.config.seed)
    return {
        "metric": metric,
        "unit": UNITS[metric],
        "countries": len(targets),
        "effect": test.effect,
        "p": test.p,
        "mean_rank": test.mean_rank,
    }


def _set_table(run: SavedRun, matrix: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for country, size in sizes(run).items():
        row: dict[str, object] = {"country": country, "neurons": size}
        if country in matrix.index and country in matrix.columns:
            drops = matrix.loc[country]
            ranked = drops.sort_values(ascending=False)
            row |= {
                "own drop (log-odds)": float(drops[country]),
                "mean drop elsewhere": float(np.mean(drops.drop(country))),
                "rank of own": int(list(ranked.index).index(country) + 1),
                "hurt most": ", ".join(ranked.index[:3]),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def drop_map(matrix: pd.DataFrame, unit: str, *, diagonal: bool = False) -> go.Figure:
    """Heat map of a drop matrix, sets in rows and countries in columns; red is a drop, blue a gain."""
    marked = diagonal or matrix.shape[1] > len(matrix)
    own = [(name, name) for name in matrix.index if marked and name in matrix.columns]
    return signed_map(matrix, unit, hover="set of %{y}, items of %{x}: %{z:.3f}", outlined=own)
