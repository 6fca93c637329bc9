"""The published figures beside the measured ones."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from culnig.neurons import NeuronSet
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies.culture_general import CultureGeneralStudy, random_names

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

LABELS = {"none": "untouched", "culture-general": "culture-general suppressed", "random": "random suppressed"}


class PublishedStudy:
    """A row for each benchmark and condition; a gap where nothing was published, or where the run has no such test set."""

    order = 12
    title = "Published and measured"
    titles: ClassVar = {
        "published": "Published and measured, %",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        suppressed = [c for c in CultureGeneralStudy().planned(config, countries) if c.name == CULTURE_GENERAL]
        return [UNTOUCHED, *suppressed]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        figures = read_published()
        name = model_of(run.config, figures)
        if name is None:
            section.text = [
                f"No figures of {run.config.model.name} are at hand; there are of {', '.join(figures['models'])}."
            ]
            return section
        table = _table(run, figures["columns"], figures["models"][name])
        section.tables["published"] = table
        section.numbers = {"model": name, "rows": table.replace({np.nan: None}).to_dict("records")}
        section.text = [
            f"Accuracy in percent (WorldValuesBench: alignment score) as published for {name}, with"
            f" {figures['models'][name]['neurons']:,} neurons suppressed, and as measured here with"
            f" {len(run.neurons(CULTURE_GENERAL)):,} under {run.config.done.noun}. Prompt wordings are not the published ones."
        ]
        return section


STUDIES.register("published")(PublishedStudy())


def read_published() -> dict[str, Any]:
    """The published figures: columns (benchmark -> its published name), models (name -> figures by condition)."""
    import yaml

    return yaml.safe_load((resources.files("culnig.studies") / "published.yaml").read_text(encoding="utf-8"))


def model_of(config: RunSettings, figures: dict[str, Any]) -> str | None:
    """The published name of the run's model: the last part of its hub id or folder; None if nothing was published."""
    own = config.model.name.rstrip("/").rpartition("/")[2].casefold()
    return next((name for name in figures["models"] if name.casefold() == own), None)


def _table(run: SavedRun, columns: dict[str, str], published: dict[str, Any]) -> pd.DataFrame:
    tests = {test.label: test for test in run.config.test}
    rows = []
    for number, (benchmark, title) in enumerate(columns.items()):
        for condition, label in LABELS.items():
            theirs = published[condition][number] if condition in published else float("nan")
            mine = _measured(run, tests[benchmark], condition) if benchmark in tests else float("nan")
            rows.append({"benchmark": title, "condition": label, "published": theirs, "measured": mine})
    return pd.DataFrame(rows).assign(difference=lambda t: t["measured"] - t["published"])


def _measured(run: SavedRun, test: TestConfig, condition: str) -> float:
    """Percent (alignment: 0 to 100); of random controls the mean, NaN where none was evaluated."""
    names = random_names(run.config) if condition == "random" else [condition]
    results = [run.result_on(test, name) for name in names if run.result_path(test, name).is_file()]
    values = [100 * r.accuracy if "alignment" not in r.rows else float(r.rows["alignment"].mean()) for r in results]
    return float(np.mean(values)) if values else float("nan")
