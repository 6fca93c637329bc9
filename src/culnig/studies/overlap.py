"""Overlap: are the neurons found on one benchmark those found on another?"""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field, field_validator

from culnig.data import DataConfig
from culnig.figures import (
    heat_map,
)
from culnig.neurons import ATTENTION_POOL, MLP_POOL, NeuronSet
from culnig.selection import jaccard_matrix, select_general
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, Section

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class FoundOn(Settings):
    """A benchmark that neurons are found on, for the overlap of sets."""

    neur: DataConfig
    ctrl: DataConfig


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
        taken: dict[str, str] = {}
        for name in benchmarks:
            other = taken.setdefault(overlap_part(name, "neur").casefold(), name)
            if other != name:
                raise ValueError(f"'{other}' and '{name}' would share one score file; rename one of them")
        return benchmarks


class OverlapStudy:
    """Select culture-general neurons by the run's rule on each of several benchmarks, and compare the sets."""

    settings = OverlapSettings
    section = "overlap"
    order = 50
    title = "Overlap of sets found on different benchmarks"
    titles: ClassVar = {
        "overlap": "Pairs of sets",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        rule = run.config.culture_general.model_dump()
        plain = run.scores("ability") if run.config.identify.ability else None
        sets = {}
        for name in run.config.section(OverlapSettings).benchmarks:
            neur, ctrl = (run.scores(overlap_part(name, part)) for part in ("neur", "ctrl"))
            chosen = select_general(neur, ctrl, run.scores("crc"), ability=plain, **rule)
            sets[_set_name(name)] = chosen
        return sets

    def scored(self, config: RunSettings) -> dict[str, DataConfig]:
        sets: dict[str, DataConfig] = {}
        for name, found in config.section(OverlapSettings).benchmarks.items():
            sets |= {overlap_part(name, "neur"): found.neur, overlap_part(name, "ctrl"): found.ctrl}
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def analyse(self, run: SavedRun) -> Section:
        sets = {name: run.neurons(_set_name(name)) for name in run.config.section(OverlapSettings).benchmarks}
        shapes = run.scores("neur").shapes()
        rows = []
        for (a, one), (b, other) in combinations(sets.items(), 2):
            chance = pooled_chance(one, other, shapes)
            jaccard = one.jaccard(other)
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "neurons a": len(one),
                    "neurons b": len(other),
                    "shared": len(one & other),
                    "jaccard": jaccard,
                    "jaccard by chance": chance,
                    "times chance": jaccard / chance if chance else float("nan"),
                }
            )
        table, matrix = pd.DataFrame(rows), jaccard_matrix(sets)
        section = Section(self.title, titles=self.titles)
        section.tables = {"overlap": table, "overlap-jaccard": matrix.rename_axis("set").reset_index()}
        section.numbers = {"pairs": rows}
        section.figures = [
            (
                "Jaccard index of the sets found on each benchmark, selected by one rule.",
                overlap_map(matrix),
            )
        ]
        section.text = [
            f"The sets of {len(sets)} benchmarks share {table['jaccard'].min():.2f} to {table['jaccard'].max():.2f} of their"
            f" union (Jaccard); random sets of the same sizes, drawn within the two pools, would share"
            f" {table['jaccard by chance'].max():.3f} at most. All sets have the same country-reading neurons removed."
        ]
        return section


STUDIES.register("overlap")(OverlapStudy())


def overlap_part(benchmark: str, part: str) -> str:
    """Name of the score file of one benchmark of the study `overlap`."""
    return f"overlap-{re.sub(r'[^A-Za-z0-9._-]+', '-', benchmark)}-{part}"


def _set_name(benchmark: str) -> str:
    return overlap_part(benchmark, "neur").removesuffix("-neur")


def pooled_chance(one: NeuronSet, other: NeuronSet, shapes: dict[str, tuple[int, int]]) -> float:
    """Jaccard at the expected overlap of random sets with as many neurons in each pool (MLP; q, k, v)."""
    shared = 0.0
    for pool in (MLP_POOL, ATTENTION_POOL):
        size = sum(shapes[m][0] * shapes[m][1] for m in pool if m in shapes)
        m, n = (sum(neuron.module in pool for neuron in each) for each in (one, other))
        shared += m * n / size if size else 0.0
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def overlap_map(matrix: pd.DataFrame) -> go.Figure:
    """Heat map of the Jaccard index of every pair of sets."""
    return heat_map(matrix, "Jaccard", "%{z:.2f}")
