"""MLP against attention: which part of the culture-general set, and of the countries' sets, carries the effect?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.errors import UsageError
from culnig.figures import (
    ACCENT,
    COOL,
    INK,
    ROLE_NAMES,
    empty_figure,
    error_bars,
)
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet
from culnig.selection import select_random
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import culture_general_set
from culnig.studies._metric_table import changes, metric_table
from culnig.studies.culture_specific import PREFIX as SPECIFIC
from culnig.studies.culture_specific import (
    CultureSpecificStudy,
    country_conditions,
    drop_matrix,
    own_and_others,
    own_country,
    set_names,
)

if TYPE_CHECKING:
    from culnig.intervention import Operation
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

PARTS = {"mlp": MLP_POOL, "attention": ATTENTION_POOL}
PREFIX = "only-"
SPECIFIC_PARTS = {part: f"{PREFIX}{part}-{SPECIFIC}" for part in PARTS}
"""Part -> how the names of the countries' sets begin that hold only this part."""


class ModulesSettings(Settings):
    """Study `modules`: the MLP part and the attention part alone."""

    specific: bool = Field(
        False,
        description="suppress the parts of culture-specific sets too: two conditions a country; else only count them",
    )
    random_controls: int = Field(3, ge=1, le=1000, description="matched random sets for each part")


class ModulesStudy:
    """Suppress only the gate neurons, or only the q, k and v neurons, of the culture-general set, against matched random ones.

    The parts of culture-specific sets are counted where the run has such sets, and suppressed if `modules.specific` says so.
    """

    settings = ModulesSettings
    section = "modules"
    order = 30
    needs = ("culture",)
    title = "MLP against attention"
    tab = "where"
    titles: ClassVar = {
        "modules": "Changes by part",
        "modules-specific": "Neurons of culture-specific sets by part, and drops in log-odds under each part",
        "modules-specific-own-country": "Own-country effect of each part of the culture-specific sets",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        whole, shapes = culture_general_set(run), run.scores("neur").shapes()
        sets: dict[str, NeuronSet] = {}
        for part, modules in PARTS.items():
            chosen = _part(whole, modules)
            sets[PREFIX + part] = chosen
            for i in range(run.config.section(ModulesSettings).random_controls if len(chosen) else 0):
                sets[f"{PREFIX}{part}-random-{i}"] = select_random(chosen, shapes, seed=run.config.seed + i)
        if not any(map(len, sets.values())):
            raise UsageError(
                "the culture-general set is empty: there is no part of it to suppress; raise culture_general.t_mlp"
            )
        if run.config.section(ModulesSettings).specific:
            countries = CultureSpecificStudy().select(run)
            sets |= countries | {
                f"{PREFIX}{part}-{name}": _part(chosen, modules)
                for name, chosen in countries.items()
                for part, modules in PARTS.items()
            }
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        general = [Condition(n, n, run.config.operation, ("culture", "ability")) for n in _general_names(run.config)]
        found = [UNTOUCHED, *(c for c in general if c.neurons is None or _there(run, c.name))]
        if run.config.section(ModulesSettings).specific:
            targets = tuple(name.removeprefix(SPECIFIC) for name in set_names(run))
            for prefix in (SPECIFIC, *SPECIFIC_PARTS.values()):
                found += country_conditions(run.config, set_names(run, prefix), targets)
        return found

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = _general_names(config)
        general = [UNTOUCHED, *(Condition(n, n, config.operation, ("culture", "ability")) for n in names)]
        if not config.section(ModulesSettings).specific:
            return general
        own = CultureSpecificStudy().planned(config, countries)
        targets = tuple(c.name.removeprefix(SPECIFIC) for c in own if c.neurons)
        parts = [prefix + country for prefix in SPECIFIC_PARTS.values() for country in targets]
        return [*general, *own, *country_conditions(config, parts, targets)]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        parts = [part for part in PARTS if _there(run, PREFIX + part)]
        rows = []
        for part in parts:
            rows += metric_table(run, PREFIX + part, _controls(run.config, part), {"part": part})
        table = pd.DataFrame(rows)
        sizes = {part: len(run.neurons(PREFIX + part)) for part in parts}
        table.insert(1, "neurons", table["part"].map(sizes))
        section.tables["modules"] = table
        section.numbers = {"sizes": sizes, "changes": changes(table, "part")}
        section.figures = [
            (
                f"Change of accuracy when only a part of the culture-general set is under {run.config.done.noun}, against"
                " the untouched model and against the mean of random sets of the same modules and layers. 95 % intervals.",
                changes_by_part(table, "part"),
            )
        ]
        held = ", ".join(f"{count:,} neurons in {part}" for part, count in sizes.items())
        section.text = [f"The culture-general set holds {held}. {changes_text(table, run.config.done)}"]
        if set_names(run):
            _add_specific(section, run)
        return section


STUDIES.register("modules")(ModulesStudy())


def _part(whole: NeuronSet, modules: tuple[str, ...]) -> NeuronSet:
    """The neurons of a set that are in some modules."""
    return whole - NeuronSet([neuron for neuron in whole if neuron.module not in modules])


def _general_names(config: RunSettings) -> list[str]:
    """Names of the culture-general set's parts and of their random controls."""
    return [name for part in PARTS for name in (PREFIX + part, *_controls(config, part))]


def _add_specific(section: Section, run: SavedRun) -> None:
    """Add how many neurons each country's set has in each part, and what each part costs where that was evaluated."""
    names = set_names(run)
    rows = []
    for name in names:
        chosen = run.neurons(name)
        rows.append(
            {"country": name.removeprefix(SPECIFIC)}
            | {f"neurons in {part}": len(_part(chosen, modules)) for part, modules in PARTS.items()}
        )
    table, tests = pd.DataFrame(rows), []
    for part, prefix in {"whole": SPECIFIC, **SPECIFIC_PARTS}.items():
        evaluated = [name for name in set_names(run, prefix) if run.has_result("culture", name)]
        if evaluated and run.config.section(ModulesSettings).specific:
            matrix = drop_matrix(run, "log_odds", prefix)
            drops = own_and_others(matrix)
            table[f"own drop, {part}"] = table["country"].map(drops["own"])
            table[f"others' drop, {part}"] = table["country"].map(drops["others"])
            tests.append({"part": part, **own_country(run, matrix, "log_odds")})
    section.tables["modules-specific"] = table
    section.numbers["specific"] = table.to_dict("records")
    attention = table["neurons in attention"].sum() / table[[f"neurons in {part}" for part in PARTS]].sum().sum()
    section.text.append(
        f"Of the neurons of the {len(names)} culture-specific sets, {1 - attention:.0%} are in the MLP and"
        f" {attention:.0%} in attention."
    )
    if tests:
        section.tables["modules-specific-own-country"] = pd.DataFrame(tests)
        section.numbers["specific_own_country"] = tests
        said = ", ".join(f"{test['part']} {test['effect']:+.3f} (p = {test['p']:.2g})" for test in tests)
        section.text.append(f"Own-country effect in log-odds, after double-centring: {said}.")


def _controls(config: RunSettings, part: str) -> list[str]:
    return [f"{PREFIX}{part}-random-{i}" for i in range(config.section(ModulesSettings).random_controls)]


def _there(run: SavedRun, name: str) -> bool:
    path = run.neurons_path(name)
    return path.is_file() and len(run.neurons(name)) > 0


def changes_text(table: pd.DataFrame, done: Operation) -> str:
    """A sentence a part: its change on culture items, and against random sets."""
    rows = table[(table["metric"] == "correct") & (table["role"] == "culture")].set_index(["part", "against"])
    sentences = []
    for part in dict.fromkeys(table["part"]):
        own, random = rows.loc[(part, "untouched")], rows.loc[(part, "random")]
        sentences.append(
            f"{done.doing(f'{part} alone')} changes accuracy on culture items by {100 * own['difference']:+.1f} points"
            f" ({100 * own['low']:+.1f} to {100 * own['high']:+.1f}), {100 * random['difference']:+.1f} against random"
            f" ({100 * random['low']:+.1f} to {100 * random['high']:+.1f})."
        )
    return " ".join(sentences)


def changes_by_part(table: pd.DataFrame, column: str) -> go.Figure:
    """Paired changes of accuracy with intervals: a row for each value of a column and role.

    Args:
        table: rows of `metric_table` with `column` before them, against one or two things.
    """
    correct = table[table["metric"] == "correct"]
    figure = empty_figure(120 + 42 * len(correct[[column, "role"]].drop_duplicates()))
    for against, colour in zip(dict.fromkeys(correct["against"]), (ACCENT, COOL), strict=False):
        part = correct[correct["against"] == against]
        figure.add_scatter(
            x=list(100 * part["difference"]),
            y=[f"{value}: {ROLE_NAMES[role].lower()}" for value, role in zip(part[column], part["role"], strict=True)],
            error_x=error_bars(part["difference"], part["low"], part["high"], unit=100, thickness=1.4),
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
