"""Overlap: are the neurons found on one benchmark those found on another?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from culnig.data import DataConfig
from culnig.figures import heat_map
from culnig.neurons import NeuronSet
from culnig.selection import jaccard_matrix
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, Section
from culnig.studies._found_on import FoundOn, check_distinct, pair_table, scored_parts, select_on, set_name

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "overlap"


def _everyday_topics() -> dict[str, FoundOn]:
    """The three topics of `everyday:neur` as three benchmarks."""
    return {
        topic: FoundOn(
            neur=DataConfig(items="everyday:neur", topics=[topic]),
            ctrl=DataConfig(items="everyday:ctrl", topics=[topic]),
        )
        for topic in ("Food", "Work life", "Sport")
    }


class OverlapSettings(Settings):
    """Study `overlap`: sets found on several benchmarks."""

    benchmarks: dict[str, FoundOn] = Field(default_factory=_everyday_topics, min_length=2)

    @field_validator("benchmarks")
    @classmethod
    def _distinct(cls, benchmarks: dict[str, FoundOn]) -> dict[str, FoundOn]:
        check_distinct(benchmarks)
        return benchmarks


class OverlapStudy:
    """Select culture-general neurons by the run's rule on each of several benchmarks, and compare the sets."""

    settings = OverlapSettings
    section = NAME
    order = 50
    title = "Overlap of sets found on different benchmarks"
    tab = "neurons"
    titles: ClassVar = {
        "overlap": "Pairs of sets",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        found = select_on(run, NAME, run.config.section(OverlapSettings).benchmarks)
        return {set_name(NAME, benchmark): neurons for benchmark, neurons in found.items()}

    def scored(self, config: RunSettings) -> dict[str, DataConfig]:
        return scored_parts(NAME, config.section(OverlapSettings).benchmarks)

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def analyse(self, run: SavedRun) -> Section:
        sets = {name: run.neurons(set_name(NAME, name)) for name in run.config.section(OverlapSettings).benchmarks}
        table, matrix = pair_table(sets, run.scores("neur").shapes()), jaccard_matrix(sets)
        section = Section(self.title, titles=self.titles)
        section.tables = {"overlap": table, "overlap-jaccard": matrix.rename_axis("set").reset_index()}
        section.numbers = {"pairs": table.to_dict("records")}
        section.figures = [
            (
                "Jaccard index of the sets found on each benchmark, selected by one rule.",
                heat_map(matrix, "Jaccard", "%{z:.2f}"),
            )
        ]
        section.text = [
            f"The sets of {len(sets)} benchmarks share {table['jaccard'].min():.2f} to {table['jaccard'].max():.2f} of their"
            f" union (Jaccard); random sets of the same sizes, drawn within the two pools, would share"
            f" {table['jaccard by chance'].max():.3f} at most. All sets have the same country-reading neurons removed."
        ]
        return section


STUDIES.register(NAME)(OverlapStudy())
