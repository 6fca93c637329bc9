"""The study `transfer`: settings, sets, conditions and its section of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from culnig.data import DataConfig
from culnig.neurons import NeuronSet
from culnig.selection import select_random
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._found_on import pair_table, scored_parts, select_on, set_name
from culnig.studies._guards import add_guards
from culnig.studies.transfer.cells import METRICS, ROLES, cell_table
from culnig.studies.transfer.sets import NAME, TransferSettings, further, held, homes, random_names, sets
from culnig.studies.transfer.shown import figures, finding, matrix, paragraphs

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings


class TransferStudy:
    """Find a culture-general set on each benchmark by the run's rule, and suppress it on every test set."""

    settings = TransferSettings
    section = NAME
    order = 52
    needs = ("culture",)
    title = "Transfer between benchmarks"
    titles: ClassVar = {
        "transfer-correct-random": "Accuracy, set minus its random sets (points)",
        "transfer-correct-untouched": "Accuracy, set minus untouched model (points)",
        "transfer-log-odds-random": "Log-odds, set minus its random sets (nats)",
        "transfer-contrast-margin-random": "Contrast margin, set minus its random sets (nats)",
        "transfer-overlap": "Pairs of sets",
        "transfer-guard-verdicts": "Guards: does the model still work?",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        others = select_on(run, NAME, further(run.config))
        found = {CULTURE_GENERAL: culture_general_set(run)}
        found |= {set_name(NAME, benchmark): neurons for benchmark, neurons in others.items()}
        shapes = run.scores("neur").shapes()
        random = {
            control: select_random(neurons, shapes, seed=run.config.seed + i)
            for name, neurons in found.items()
            if len(neurons)
            for i, control in enumerate(random_names(name, run.config))
        }
        return found | random

    def scored(self, config: RunSettings) -> dict[str, DataConfig]:
        homes(config)  # a test set that the run lacks is an error before anything is scored
        return scored_parts(NAME, further(config))

    def conditions(self, run: SavedRun) -> list[Condition]:
        return _conditions(run.config, list(held(run).values()))

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return _conditions(config, list(sets(config).values()))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        cells = cell_table(run)
        found = {label: run.neurons(name) for label, name in held(run).items()}
        pairs = pair_table(found, run.scores("neur").shapes())
        section.tables = {"transfer-cells": cells, "transfer-overlap": pairs}
        for metric in METRICS:
            for against in ("random", "untouched"):
                if len(part := cells[(cells["metric"] == metric) & (cells["against"] == against)]):
                    section.tables[f"transfer-{metric.replace('_', '-')}-{against}"] = matrix(part)
        section.text = list(paragraphs(run, cells, pairs))
        section.figures = list(figures(run, cells))
        section.numbers = {
            "cells": cells[cells["wording"] == "all"].to_dict("records"),
            "neurons": {label: len(neurons) for label, neurons in found.items()},
            "overlap": pairs.to_dict("records"),
        }
        section.findings = finding(cells)
        add_guards(section, run, held(run).values(), prefix="transfer-")
        return section


STUDIES.register(NAME)(TransferStudy())


def _conditions(config: RunSettings, names: list[str]) -> list[Condition]:
    operation = config.operation
    found = [Condition(name, name, operation, ROLES, main=True, everywhere=True) for name in names]
    random = [control for name in names for control in random_names(name, config)]
    return [UNTOUCHED, *found, *(Condition(name, name, operation, ROLES, everywhere=True) for name in random)]
