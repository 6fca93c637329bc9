"""Ablations: what each part of the culture-general rule is worth, at one size of the set."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd
from pydantic import Field

from culnig.attribution.method import GradientMethod, parse_method, parse_methods
from culnig.evaluation import compare
from culnig.formatting import interval, points
from culnig.neurons import NeuronSet
from culnig.selection import select_of_size
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._found_on import pooled_chance
from culnig.studies._metric_table import changes, metric_table
from culnig.studies.modules import changes_by_part

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

Part = Literal["control", "country-reading", "weighting", "maximum", "first-token"]
PREFIX = "without-"
FULL = "full rule"
ROLES = ("culture", "ability", "facts")
WHAT: dict[Part, str] = {
    "control": "S(neur) alone, without S(ctrl)",
    "country-reading": "no neuron removed for country reading",
    "weighting": "items count alike, not by P(gold)",
    "maximum": "sum over positions, not their maximum, and controls keep their sign",
    "first-token": "positions but the prompt's first, where attention rests whatever is asked",
}
OTHER_METHOD: dict[Part, dict[str, str]] = {
    "weighting": {"weight": "unweighted"},
    "maximum": {"positions": "sum"},
    "first-token": {"first": "skip_first"},
}
"""Parts that are left out by another scoring method: the options in which it differs from the run's first."""


class AblationsSettings(Settings):
    """Study `ablations`: the parts of the rule that are left out, one at a time."""

    parts: list[Part] = Field(
        ["control", "country-reading", "weighting", "maximum", "first-token"],
        min_length=1,
        description="the last three need a further method each under `scoring`: culnig:unweighted, culnig:sum,"
        " culnig:skip_first",
    )


class AblationsStudy:
    """Select without one part of the rule, as many neurons of each pool as the full rule took, and compare item by item."""

    settings = AblationsSettings
    section = "ablations"
    order = 38
    needs = ("culture",)
    title = "Ablations of the rule"
    tab = "sure"
    titles: ClassVar = {
        "ablations": "Overlap with the full rule's set",
        "ablations-layers": "Neurons of the full rule's set that are not chosen without a part, by layer",
        "ablations-changes": "Changes with one part of the rule left out",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        whole = culture_general_set(run)
        parts = ablated(run.config)
        return {CULTURE_GENERAL: whole} | {PREFIX + part: _without(run, part, parts[part], whole) for part in parts}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = (CULTURE_GENERAL, *(PREFIX + part for part in ablated(config)))
        return [UNTOUCHED, *(Condition(name, name, config.operation, ROLES) for name in names)]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        whole, shapes = run.neurons(CULTURE_GENERAL), run.scores("neur").shapes()
        rows = metric_table(run, CULTURE_GENERAL, where={"without": "nothing"}, roles=ROLES)
        sets: list[dict[str, Any]] = []
        for part, method in ablated(run.config).items():
            chosen = run.neurons(PREFIX + part)
            row = {"without": part, "what": WHAT[part], "method": method, "neurons": len(chosen)}
            row |= {"shared": len(chosen & whole), "jaccard": chosen.jaccard(whole)}
            sets.append(row | {"jaccard by chance": pooled_chance(chosen, whole, shapes)})
            rows += metric_table(run, PREFIX + part, [CULTURE_GENERAL], {"without": part}, label=FULL, roles=ROLES)
        table = pd.DataFrame(rows)
        section.tables = {"ablations": pd.DataFrame(sets)}
        if sets:
            section.tables["ablations-layers"] = _by_layer(run, whole)
        section.tables["ablations-changes"] = table
        section.numbers = {"sets": sets, "changes": changes(table, "without")}
        section.text = [
            f"The full rule took {len(whole):,} neurons. Without one of its parts, the same number of each pool is taken, so"
            " that what differs is which neurons they are.",
            *(_said(run, part) for part in ablated(run.config)),
            *_left_out(run.config),
        ]
        caption = (
            f"Change of accuracy under {run.config.done.noun} of the sets without one part of the rule, against the untouched"
            " model and against the full rule's set. 95 % intervals."
        )
        section.figures = [(caption, changes_by_part(table, "without"))]
        return section


STUDIES.register("ablations")(AblationsStudy())


def ablated(config: RunSettings) -> dict[Part, str]:
    """The parts that can be left out with the run's scoring methods -> the method that the set is selected by."""
    there = {method.name for method in parse_methods(config.scoring)}
    needed = {part: _method_without(config, part) for part in config.section(AblationsSettings).parts}
    return {part: name for part, name in needed.items() if name in there}


def _method_without(config: RunSettings, part: Part) -> str | None:
    """The method that is the run's first without a part of it; None where the first has no such part."""
    first = parse_methods(config.scoring)[0]
    options = OTHER_METHOD.get(part, {})
    if not options:
        return first.name
    if not isinstance(first, GradientMethod) or any(getattr(first, key) == value for key, value in options.items()):
        return None
    return parse_method(first.name).model_copy(update=options).name


def _by_layer(run: SavedRun, whole: NeuronSet) -> pd.DataFrame:
    """A row a layer with neurons of the full rule's set: how many, and how many owe their place to each part."""
    rows: dict[str, dict[int, int]] = {"neurons": {}}
    for part in ablated(run.config):
        kept = run.neurons(PREFIX + part)
        rows[f"not without {part}"] = dict(Counter(neuron.layer for neuron in whole if neuron not in kept))
    rows["neurons"] = dict(Counter(neuron.layer for neuron in whole))
    table = pd.DataFrame(rows).fillna(0).astype(int).sort_index()
    return table.rename_axis("layer").reset_index()


def _left_out(config: RunSettings) -> list[str]:
    """A sentence on each part that could not be left out."""
    sentences = []
    for part in config.section(AblationsSettings).parts:
        if part not in ablated(config):
            name = _method_without(config, part)
            why = f"add {name} to the run's scoring" if name else "the run's first scoring method has no such part"
            sentences.append(f"Not ablated: {part} ({why}).")
    return sentences


def _without(run: SavedRun, part: Part, method: str, whole: NeuronSet) -> NeuronSet:
    """The set that the rule chooses without a part, as large as the whole."""
    ability = run.scores("ability", method) if run.config.identify.ability else None
    return select_of_size(
        whole,
        run.scores("neur", method),
        None if part == "control" else run.scores("ctrl", method),
        None if part == "country-reading" else run.scores("crc", method),
        ability=ability,
        rule=run.config.culture_general,
    )


def _said(run: SavedRun, part: Part) -> str:
    """How the set without a part differs from the full rule's on each test set."""
    said = []
    for role in ROLES:
        if run.has_result(role, PREFIX + part):
            test = run.config.test_of(role)
            assert test is not None
            one, full = (run.result_on(test, name) for name in (PREFIX + part, CULTURE_GENERAL))
            found = compare(one, full, seed=run.config.seed)
            said.append(f"{role} {points(found.difference)} points ({interval(found.to_dict())})")
    return (
        f"Without {part.replace('-', ' ')} ({WHAT[part]}), accuracy differs from that under the full rule's"
        f" set by: {', '.join(said)}."
    )
