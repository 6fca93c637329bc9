"""`first_neurons`: the best few neurons of the culture-general set, suppressed alone."""

from typing import ClassVar

import pandas as pd
from pydantic import Field

from culnig.evaluation import compare
from culnig.figures import empty_figure
from culnig.neurons import NeuronSet
from culnig.selection import select_general
from culnig.settings import Settings
from culnig.studies import STUDIES, UNTOUCHED, Condition, RunSettings, SavedRun, Section


class FirstNeuronsSettings(Settings):
    """Settings of the study `first_neurons`."""

    count: int = Field(3, ge=1, description="so many neurons")


class FirstNeuronsStudy:
    """Suppress the best neurons alone."""

    order = 70
    title = "The first neurons"
    settings = FirstNeuronsSettings
    section = "first_neurons"
    titles: ClassVar = {"first-neurons": "What the first neurons cost"}

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        """Return the sets to save."""
        rule = run.config.culture_general.model_dump()
        chosen = select_general(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), **rule)
        return {"first": chosen.top(run.config.section(FirstNeuronsSettings).count)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        """Return what must be evaluated."""
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        """Return what must be evaluated, before anything is scored."""
        return [UNTOUCHED, Condition("first", "first", config.operation, ("culture",))]

    def analyse(self, run: SavedRun) -> Section:
        """Return the section of the report."""
        masked, untouched = run.result("culture", "first"), run.result("culture", "none")
        assert masked is not None and untouched is not None
        change = compare(masked, untouched)
        figure = empty_figure(200)
        figure.add_bar(x=["untouched", "suppressed"], y=[change.b, change.a])
        section = Section(self.title, titles=self.titles)
        section.tables["first-neurons"] = pd.DataFrame([change.to_dict()])
        section.figures = [("Accuracy without the first neurons.", figure)]
        section.text = [f"{len(run.neurons('first'))} neurons were suppressed."]
        section.numbers = {"neurons": len(run.neurons("first"))}
        return section


STUDIES.register("first_neurons")(FirstNeuronsStudy())
