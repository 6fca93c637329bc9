"""Costly neurons: which single neurons make the suppression of a set cost plain text?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pydantic import Field

from culnig import distributed
from culnig.data import load_texts
from culnig.errors import UsageError
from culnig.evaluation import compare_text, costliest
from culnig.figures import short_module
from culnig.formatting import percent, points
from culnig.neurons import NeuronSet
from culnig.sealed import load_table, save_rows
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL
from culnig.studies.culture_general import CultureGeneralStudy, random_names

if TYPE_CHECKING:
    from pathlib import Path

    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "costly_neurons"


class CostlyNeuronsSettings(Settings):
    """The study `costly_neurons`: the neurons of damaging sets that cost plain text."""

    exact: int = Field(10, ge=1, le=1000, description="neurons of each set that are suppressed one at a time")
    beyond: float = Field(0.1, ge=-1, description="sets that raise perplexity by more than this share; -1 for all")


class CostlyNeuronsStudy:
    """Rank the neurons of sets that damage the model by the Fisher cost on plain text, and suppress the first ones alone.

    The sets are the culture-general one and its random controls.
    """

    settings = CostlyNeuronsSettings
    section = NAME
    order = 12
    needs = ("culture",)
    title = "Which neurons cost plain text"
    tab = "neurons"
    titles: ClassVar = {"costly-sets": "By set", "costly-neurons": "The costliest neurons, each suppressed alone"}

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return CultureGeneralStudy().select(run)

    def conditions(self, run: SavedRun) -> list[Condition]:
        return CultureGeneralStudy().conditions(run)

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return CultureGeneralStudy().planned(config, countries)

    def check(self, config: RunSettings) -> None:
        """Check that there is a text."""
        if config.guards.text is None:
            raise UsageError("the study costly_neurons needs a plain text; set guards.text, or leave the study out")

    def measured(self, run: SavedRun) -> bool:
        return _path(run).is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        settings = run.config.section(CostlyNeuronsSettings)
        texts, damaging = load_texts(str(run.config.guards.text)), _damaging(run)
        tables = [pd.DataFrame(columns=["set"])]
        with context.reporter.step("suppress costly neurons", settings.exact * len(damaging), "neurons") as progress:
            for name in damaging:
                found = costliest(
                    context.lm,
                    run.neurons(name),
                    texts,
                    exact=settings.exact,
                    bos=context.policy.bos,
                    token_budget=context.token_budget,
                    progress=progress,
                )
                tables.append(found.assign(set=name))
        if distributed.is_main():
            save_rows(_path(run), pd.concat(tables, ignore_index=True))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        settings = run.config.section(CostlyNeuronsSettings)
        rows = load_table(_path(run), "costs of neurons")
        section.text = [
            "Each neuron's cost is estimated from one backward pass over the plain text: the first-order change O of the loss"
            " a token, plus half the diagonal Fisher Q. The first neurons are then suppressed one at a time. Listed are the"
            f" sets whose suppression raises perplexity by more than {percent(settings.beyond)}."
        ]
        if not len(rows):
            section.text.append("There is no such set in this run.")
            return section
        sets: list[dict[str, Any]] = []
        for name, own in _changes(run).items():
            part = rows[rows["set"] == name]
            if not len(part):
                continue
            top = part.iloc[0]
            measured = part[part["change"].notna()]
            row = {"set": name, "neurons": len(part), "perplexity, %": points(own)}
            row |= {f"Fisher share of the first {len(measured)}": f"{measured['fisher_share'].sum():.0%}"}
            sets.append(row | {"costliest": _named(top), "it alone, %": points(top["change"])})
        shown = rows[rows["change"].notna()].copy()
        shown["module"] = shown["module"].map(short_module)
        section.tables = {"costly-sets": pd.DataFrame(sets), "costly-neurons": shown, "costly-all": rows}
        section.numbers = {"sets": sets}
        first = sets[0]
        section.text.append(
            f"In {first['set']}, {first['costliest']} alone changes perplexity by {first['it alone, %']} %, the whole set by"
            f" {first['perplexity, %']} %."
        )
        return section


STUDIES.register(NAME)(CostlyNeuronsStudy())


def _path(run: SavedRun) -> Path:
    return run.measured_path(NAME) / "neurons.parquet"


def _named(row: pd.Series) -> str:
    return f"{short_module(row['module'])} {int(row['neuron'])} of layer {int(row['layer'])}"


def _changes(run: SavedRun) -> dict[str, float]:
    """Each set's change of perplexity, as a share."""
    untouched, found = run.text("none"), {}
    for name in (CULTURE_GENERAL, *random_names(run.config)):
        text = run.text(name)
        if text is not None and untouched is not None:
            found[name] = compare_text(text, untouched).ratio - 1
    return found


def _damaging(run: SavedRun) -> list[str]:
    """The sets that raise perplexity by more than the setting."""
    beyond = run.config.section(CostlyNeuronsSettings).beyond
    return [name for name, change in _changes(run).items() if change > beyond]
