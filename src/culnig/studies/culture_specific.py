"""Culture-specific neurons: does suppressing a country's set hurt that country more than others?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.data.countries import TARGETS
from culnig.errors import UsageError
from culnig.figures import signed_map
from culnig.neurons import NeuronSet
from culnig.selection import select_random, select_specific
from culnig.statistics.matrices import FEWEST, beyond_expected
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._guards import add_guards, against_random
from culnig.studies._own_country import (
    EQUAL,
    PREFIX,
    UNITS,
    drop_matrix,
    evaluated,
    own_country,
    own_country_table,
    random_draws,
    random_prefix,
    set_names,
    targets_of,
)

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

__all__ = ["PREFIX", "drop_matrix", "own_country", "set_names"]


class CultureSpecificStudy:
    """Suppress each country's set, and see which countries' items suffer.

    Drops are measured in the gold option's log-odds and probability, which move where accuracy over a few dozen items
    is noise.  What a set's strength, a country's fragility and their product let expect is taken off
    (`statistics.matrices.own_country_effect`).  Random sets of each country's set are suppressed beside.
    """

    order = 20
    needs = ("culture",)
    title = "Culture-specific neurons"
    tab = "countries"
    places: ClassVar = {"specific-guard-verdicts": "sure", "specific-guards-against-random": "sure"}
    titles: ClassVar = {
        "specific-sets": "Culture-specific sets",
        "specific-guard-verdicts": "Guards: does the model still work?",
        "specific-guards-against-random": "Guards: each country's set against its random sets",
        "specific-own-country": "Own-country effect",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        rule = run.config.culture_specific.model_dump()
        sets = select_specific(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), **rule)
        made = {PREFIX + country: neurons for country, neurons in sets.items()}
        made |= _random_sets(run, sets)
        if run.config.specific_equal:
            smallest = min((len(neurons) for neurons in sets.values() if len(neurons)), default=0)
            made |= {EQUAL + country: neurons.top(smallest) for country, neurons in sets.items() if len(neurons)}
        return made

    def conditions(self, run: SavedRun) -> list[Condition]:
        names = set_names(run)
        countries = tuple(name.removeprefix(PREFIX) for name in names)
        random = [
            Condition(name, name, run.config.operation, ("culture",), countries)
            for draw in range(run.config.specific_controls)
            for name in set_names(run, random_prefix(draw))
        ]
        equal = (
            country_conditions(run.config, set_names(run, EQUAL), countries)[1:] if run.config.specific_equal else []
        )
        return [*country_conditions(run.config, names), *random, *equal]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        targets = tuple(country for country in countries if country in TARGETS) or tuple(countries)
        random = [
            Condition(name, name, config.operation, ("culture",), targets)
            for draw in range(config.specific_controls)
            for name in (random_prefix(draw) + country for country in targets)
        ]
        equal = country_conditions(config, [EQUAL + country for country in targets], targets)[1:]
        own = country_conditions(config, [PREFIX + country for country in targets])
        return [*own, *random, *(equal if config.specific_equal else [])]

    def analyse(self, run: SavedRun) -> Section:
        if not set_names(run):
            return nothing_selected(self.title, run)
        section = Section(self.title, titles=self.titles)
        matrices = {metric: drop_matrix(run, metric) for metric in UNITS}
        for metric, matrix in matrices.items():
            section.tables[f"specific-drop-{metric.replace('_', '-')}"] = matrix.rename_axis("set").reset_index()
        table = own_country_table(run)
        section.tables["specific-own-country"] = table
        tests = table[table["sets"] == "own"].drop(columns="sets")
        section.tables["specific-sets"] = _set_table(run, matrices["log_odds"])
        raw = matrices["log_odds"]
        targets = targets_of(raw)
        own_first = raw[[*targets, *(c for c in raw.columns if c not in targets)]]
        square = raw.loc[targets, targets]
        own = np.eye(len(targets), dtype=bool)
        beyond = pd.DataFrame(beyond_expected(square.to_numpy(), own), square.index, square.columns)
        section.figures = [
            (
                f"Drop of each country's log-odds (columns) under {run.config.done.noun} of a country's set (rows).",
                drop_map(own_first, "drop in log-odds"),
            ),
            (
                "The same for the target countries, minus what each set's strength, each country's fragility and their product"
                " let expect. The model is fitted off the diagonal; the diagonal's mean is the own-country effect.",
                drop_map(beyond, "drop beyond the expected", diagonal=True),
            ),
        ]
        section.numbers = {"own_country": tests.to_dict("records"), "sizes": sizes(run)}
        section.numbers["own_country_kinds"] = table[table["sets"] != "own"].to_dict("records")
        main = tests.set_index("metric").loc["log_odds"]
        section.text = [
            _verdict(main, len(targets)),
            *_beside(table),
            "With a few dozen questions a country and this small a model, an absent effect is not evidence of absence;"
            " the probability and accuracy versions stand in the tables.",
        ]
        draws = [name for prefix in random_draws(run) for name in evaluated(run, prefix)]
        found = add_guards(section, run, [*set_names(run), *draws], prefix="specific-")
        section.text += against_random(section, run, found, _controls(run), prefix="specific-")
        section.text += _without_controls(run)
        if len(targets) >= FEWEST:
            section.findings = [
                Finding(
                    "own-country effect",
                    f"{main['effect']:+.2f} nats",
                    f"{main['low']:+.2f} to {main['high']:+.2f}; p = {main['p']:.2g}; log-odds",
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
        f" {main['effect']:+.3f} {UNITS['log_odds']} beyond what strength, fragility and their product let expect (95 % interval"
        f" over questions {main['low']:+.2f} to {main['high']:+.2f}; t-test over countries, one-sided, p = {main['p']:.3g}); mean"
        f" rank of the own country {main['mean_rank']:.1f} of {countries} ({(countries + 1) / 2:.1f} by chance). By"
        f" double-centring alone, as before: {main['effect (double-centred)']:+.3f}, p = {main['p (double-centred)']:.2g}."
    )


def _beside(table: pd.DataFrame) -> list[str]:
    """The effect of the other kinds of sets, in words."""
    rows = table[(table["sets"] != "own") & (table["metric"] == "log_odds")]
    return [
        f"The same of sets of the kind \u201c{row['sets']}\u201d: {row['effect']:+.3f} ({row['low']:+.2f} to {row['high']:+.2f};"
        f" p = {row['p']:.2g})."
        for row in rows.to_dict("records")
    ]


def _random_sets(run: SavedRun, sets: dict[str, NeuronSet]) -> dict[str, NeuronSet]:
    """Random sets of each country's set; none where a layer has too few other neurons to draw from."""
    shapes, made = run.scores("neur").shapes(), {}
    for draw in range(run.config.specific_controls):
        for country, neurons in sets.items():
            try:
                drawn = select_random(neurons, shapes, how=run.config.random_kind, seed=run.config.seed + draw)
            except UsageError:  # an empty set, too
                continue
            made[random_prefix(draw) + country] = drawn
    return made


def _controls(run: SavedRun) -> dict[str, list[str]]:
    """Each country's set -> its random sets that were evaluated."""
    found: dict[str, list[str]] = {name: [] for name in set_names(run)}
    for prefix in random_draws(run):
        for name in evaluated(run, prefix):
            if (own := PREFIX + name.removeprefix(prefix)) in found:
                found[own].append(name)
    return {name: draws for name, draws in found.items() if draws}


def _without_controls(run: SavedRun) -> list[str]:
    """Name the countries whose sets have no random sets to compare with, if any."""
    lacking = [name.removeprefix(PREFIX) for name in set_names(run) if name not in _controls(run)]
    if not lacking or not run.config.specific_controls:
        return []
    return [
        f"Without random sets of their own: {', '.join(lacking)}. Either the run is of an earlier version, or a layer has too"
        " few other neurons to draw from."
    ]


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


def sizes(run: SavedRun, prefix: str = PREFIX) -> dict[str, int]:
    """Country -> neurons in its set, empty sets included."""
    return {name.removeprefix(prefix): len(run.neurons(name)) for name in run.set_names(prefix)}


def own_and_others(matrix: pd.DataFrame) -> pd.DataFrame:
    """A row a set of a drop matrix: the drop of its own country, and the mean drop of the others."""
    rows = {
        country: {"own": matrix.loc[country, country], "others": matrix.loc[country].drop(country).mean()}
        for country in matrix.index
        if country in matrix.columns
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["own", "others"])


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
