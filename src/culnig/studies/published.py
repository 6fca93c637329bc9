"""The published figures beside the measured ones; what is not known here is a gap, and no estimate."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from culnig.neurons import NeuronSet, Site
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies.culture_general import CultureGeneralStudy, random_names
from culnig.studies.culture_specific import drop_matrix, set_names

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

GATE = "mlp.gate_proj"
LABELS = {"none": "untouched", "culture-general": "culture-general suppressed", "random": "random suppressed"}


class PublishedStudy:
    """A row for each benchmark and condition; a gap where no figure is known, or where the run has no such test set."""

    order = 12
    title = "Published and measured"
    tab = "sure"
    titles: ClassVar = {
        "published": "Published and measured, %",
        "published-gates": "Gate neurons of the densest published layers",
        "published-ranks": "Whom a country's set hurts: rank among the countries, 1 is most",
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
                f"The paper has no figures of {run.config.model.name}; it has of {', '.join(figures['models'])}."
            ]
            return section
        published = figures["models"][name]
        table = _table(run, figures["columns"], published)
        section.tables["published"] = table
        if "gates" in published:
            section.tables["published-gates"] = _gates(run, published["gates"])
        if "culture_specific" in run.config.studies:
            section.tables["published-ranks"] = _ranks(run, figures["ranks"])
        section.numbers = {"model": name, "rows": table.replace({np.nan: None}).to_dict("records")}
        known = f"{published['neurons']:,}" if published["neurons"] else "an unknown number of"
        section.text = [
            f"Accuracy in percent (WorldValuesBench: alignment score) as published for {name}, with"
            f" {known} neurons suppressed, and as measured here with"
            f" {len(run.neurons(CULTURE_GENERAL)):,} under {run.config.done.noun}. Prompt wordings are not the published ones."
        ]
        if table["published"].isna().any():
            section.text.append("An empty cell under published is a figure that is not known here.")
        return section


STUDIES.register("published")(PublishedStudy())


def read_published() -> dict[str, Any]:
    """The published figures: columns (benchmark -> its published name), models (name -> figures by condition), ranks."""
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
            theirs = published[condition][number] if published[condition] else float("nan")
            mine = _measured(run, tests[benchmark], condition) if benchmark in tests else float("nan")
            rows.append({"benchmark": title, "condition": label, "published": theirs, "measured": mine})
    return pd.DataFrame(rows).assign(difference=lambda t: t["measured"] - t["published"])


def _gates(run: SavedRun, published: dict[int, int]) -> pd.DataFrame:
    """The densest published layers, with the gate neurons of the run's own set there."""
    counts = run.neurons(CULTURE_GENERAL).counts()
    rows = [
        {"layer": n, "published": count, "measured": counts.get(Site(GATE, n), 0)} for n, count in published.items()
    ]
    return pd.DataFrame(rows)


def _ranks(run: SavedRun, published: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Published ranks of countries by their loss of accuracy, with those of the run; NaN where it has no such set."""
    measured = drop_matrix(run, "correct").rank(axis=1, ascending=False) if set_names(run) else pd.DataFrame()
    rows = []
    for country, ranks in published.items():
        for hurt, rank in ranks.items():
            has = country in measured.index and hurt in measured.columns
            here = float(measured.loc[country, hurt]) if has else float("nan")
            rows.append({"set": country, "country": hurt, "published": rank, "measured": here})
    return pd.DataFrame(rows)


def _measured(run: SavedRun, test: TestConfig, condition: str) -> float:
    """Percent (alignment: 0 to 100); of random controls the mean, NaN where none was evaluated."""
    names = random_names(run.config) if condition == "random" else [condition]
    results = [run.result_on(test, name) for name in names if run.result_path(test, name).is_file()]
    values = [100 * r.accuracy if "alignment" not in r.rows else float(r.rows["alignment"].mean()) for r in results]
    return float(np.mean(values)) if values else float("nan")
