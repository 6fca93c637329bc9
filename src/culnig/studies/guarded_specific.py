"""One country's set under a budget of harm: does its own country fall alone?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from culnig import distributed
from culnig.data import DataConfig, load_texts
from culnig.data.countries import TARGETS
from culnig.errors import UsageError
from culnig.files import read_json, safe_name, write_json
from culnig.formatting import points
from culnig.guarded import GuardedSettings, guarded_data
from culnig.guarded.data import OWN_TEXTS, OWN_TOKENS, name_countries
from culnig.guarded.settings import PERPLEXITY
from culnig.neurons import NeuronSet
from culnig.passes.generation import sample_texts
from culnig.studies._base import STUDIES, Condition, Finding, MeasurementContext, Section
from culnig.studies._guards import add_guards
from culnig.studies._own_country import UNITS, drop_matrix, own_country, set_names, targets_of
from culnig.studies.culture_specific import country_conditions, drop_map
from culnig.studies.guarded import check_protected, search_in

if TYPE_CHECKING:
    from pathlib import Path

    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "guarded_specific"
PREFIX = "guarded-specific-"
OTHERS = "others"


class GuardedSpecificSettings(GuardedSettings):
    """The study `guarded_specific`: a search for each country, in which the items of all other countries are protected."""

    harm: dict[str, float] = Field(
        {PERPLEXITY: 0.02, OTHERS: 0.02},
        description="guard -> the most that it may get worse, as a share; `others` are the other countries' items",
    )
    max_neurons: int = Field(20, ge=1, description="neurons in each country's set at most")
    step: int = Field(10, ge=1, description="neurons that a round adds")
    items: int = Field(
        120, ge=4, description="items of each set that a round ranks by, at most: the country's, the others'"
    )
    texts: int = Field(24, ge=2, description="texts sampled from the model that a round's text cost is taken on")
    checked: int = Field(160, ge=8, description="items of each data set that a round is checked on")
    patience: int = Field(2, ge=1, description="rounds in a row that may be taken back before the search stops")
    backward: bool = Field(False, description="at the end, drop the neurons that are not needed")
    countries: list[str] | None = Field(None, description="countries to search for; null: the target countries of neur")
    protect: dict[str, DataConfig] = Field(
        {}, description="name -> items of what should stay besides the other countries; development sets"
    )
    own_texts: str | None = Field(None, description="file of paragraphs to protect; null: texts sampled from the model")


class GuardedSpecificStudy:
    """Search for each country's set on `identify.neur`, and test all sets on all target countries' items."""

    settings = GuardedSpecificSettings
    section = NAME
    order = 21
    needs = ("culture",)
    measures_first = True
    tab = "countries"
    title = "One country's neurons under a budget of harm"
    titles: ClassVar = {
        "guarded-specific-own-country": "Own-country effect",
        "guarded-specific-sets": "Sets",
        "guarded-specific-guard-verdicts": "Guards: does the model still work?",
    }

    def check(self, config: RunSettings) -> None:
        """Check before a model is loaded that every budget is of something protected, and no test set is."""
        check_protected(config, NAME, config.section(GuardedSpecificSettings), besides=[OTHERS])

    def measured(self, run: SavedRun) -> bool:
        return _done_path(run).is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Search for one country after the other; finished ones and the rounds so far are kept."""
        settings = run.config.section(GuardedSpecificSettings)
        items = context.items(run.config.identify.neur)
        there = {item.country for item in items}
        wanted = settings.countries or [country for country in TARGETS if country in there]
        if missing := [country for country in wanted if country not in there]:
            raise UsageError(f"{NAME}.countries: identify.neur has no items of {missing[0]}")
        if settings.own_texts:
            texts = load_texts(settings.own_texts)
        else:
            texts = sample_texts(context.lm, OWN_TEXTS, OWN_TOKENS, seed=settings.seed)
        told = {country: self._search(run, context, settings, country, texts) for country in wanted}
        if distributed.is_main():
            write_json(_done_path(run), told)

    def _search(
        self,
        run: SavedRun,
        context: MeasurementContext,
        settings: GuardedSpecificSettings,
        country: str,
        texts: list[str],
    ) -> dict[str, Any]:
        """Search for one country, unless it is done; return how the search ended."""
        path = _set_path(run, country)
        if path.is_file():
            record = NeuronSet.load(path).provenance
            return {key: record[key] for key in ("stopped", "path")}
        items = context.items(run.config.identify.neur)
        own = [item for item in items if item.country == country]
        protect = {OTHERS: [item for item in items if item.country != country]}
        protect |= {name: context.items(each) for name, each in settings.protect.items()}
        data = guarded_data(
            context.lm,
            own,
            controls="countries" if name_countries(own) else [],
            protect=protect,
            texts=texts,
            checked=settings.checked,
            seed=settings.seed,
        )
        progress = path.with_suffix(".progress")
        context.reporter.say(f"{country}: search")
        found = search_in(run, context, settings, data, progress)
        rounds = [each.row() for each in found.rounds]
        if distributed.is_main():
            found.neurons.save(path)
            progress.unlink(missing_ok=True)
        return {"stopped": found.stopped, "path": rounds}

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        told = read_json(_done_path(run), "the searches for countries")
        return {PREFIX + country: NeuronSet.load(_set_path(run, country)) for country in told}

    def conditions(self, run: SavedRun) -> list[Condition]:
        names = set_names(run, PREFIX)
        return country_conditions(run.config, names, tuple(name.removeprefix(PREFIX) for name in names))

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        wanted = config.section(GuardedSpecificSettings).countries or [c for c in TARGETS if c in countries]
        return country_conditions(config, [PREFIX + country for country in wanted], tuple(wanted))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        told = read_json(_done_path(run), "the searches for countries")
        names = set_names(run, PREFIX)
        sizes = {country: len(run.neurons(PREFIX + country)) for country in told}
        section.numbers = {"sizes": sizes, "stopped": {country: each["stopped"] for country, each in told.items()}}
        if not names:
            section.text = ["No country's set holds a neuron: " + "; ".join(f"{c}: {told[c]['stopped']}" for c in told)]
            return section
        matrices = {metric: drop_matrix(run, metric, PREFIX) for metric in UNITS}
        for metric, matrix in matrices.items():
            section.tables[f"guarded-specific-drop-{metric.replace('_', '-')}"] = matrix.rename_axis(
                "set"
            ).reset_index()
        tests = pd.DataFrame([own_country(run, matrix, metric, [PREFIX]) for metric, matrix in matrices.items()])
        section.tables["guarded-specific-own-country"] = tests
        section.tables["guarded-specific-sets"] = _table(told, sizes, matrices)
        section.numbers["sets"] = section.tables["guarded-specific-sets"].to_dict("records")
        section.numbers["own_country"] = tests.to_dict("records")
        main = tests.set_index("metric").loc["log_odds"]
        section.text = [_verdict(main, matrices["correct"])]
        section.figures = [
            (
                f"Drop of each country's log-odds (columns) under {run.config.done.noun} of a country's guarded set (rows).",
                drop_map(matrices["log_odds"], "drop in log-odds"),
            )
        ]
        add_guards(section, run, names, prefix="guarded-specific-")
        if np.isfinite(main["effect"]):
            detail = f"{main['low']:+.2f} to {main['high']:+.2f}; p = {main['p']:.2g}; log-odds"
            section.findings = [Finding("own-country effect, guarded sets", f"{main['effect']:+.2f} nats", detail)]
        return section


STUDIES.register(NAME)(GuardedSpecificStudy())


def _set_path(run: SavedRun, country: str) -> Path:
    return run.measured_path(NAME) / f"{safe_name(country)}.json"


def _done_path(run: SavedRun) -> Path:
    return run.measured_path(NAME) / "searches.json"


def _table(told: dict[str, Any], sizes: dict[str, int], matrices: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a country: its set, what its own items and the other countries' lose, and why the search stopped."""
    rows = []
    for country, size in sizes.items():
        row: dict[str, Any] = {"country": country, "neurons": size}
        for metric, label in (("log_odds", "nats"), ("correct", "share of items")):
            matrix = matrices[metric]
            if country in targets_of(matrix):
                drops = matrix.loc[country]
                row |= {
                    f"own drop, {label}": drops[country],
                    f"mean drop elsewhere, {label}": drops.drop(country).mean(),
                }
        rows.append(row | {"rounds": len(told[country]["path"]), "stopped because": told[country]["stopped"]})
    return pd.DataFrame(rows)


def _verdict(main: pd.Series, correct: pd.DataFrame) -> str:
    """Say in words whether the own country falls, and falls alone."""
    targets = targets_of(correct)
    square = correct.loc[targets, targets].to_numpy()
    own = np.eye(len(targets), dtype=bool)
    text = (
        f"Each country's set was searched with the items of all other countries protected. On the test items the own country"
        f" loses {points(-square[own].mean())} points, and the other target countries {points(-square[~own].mean())} on average."
        if len(targets) > 1
        else "Each country's set was searched with the items of all other countries protected."
    )
    if not np.isfinite(main["effect"]):
        return text
    return text + (
        f" Own-country effect: {main['effect']:+.3f} {UNITS['log_odds']} beyond what strength, fragility and their product let"
        f" expect ({main['low']:+.2f} to {main['high']:+.2f}; t-test over countries, one-sided, p = {main['p']:.3g})."
    )
