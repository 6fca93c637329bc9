"""Fidelity: do scores say what suppressing a neuron really does?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd
from pydantic import Field, field_validator

from culnig import distributed
from culnig.data import DataConfig
from culnig.neurons import NeuronSet
from culnig.prompts import PromptPolicy
from culnig.settings import Settings
from culnig.studies._base import STUDIES, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._settings import checked_methods
from culnig.studies.fidelity import figures as fidelity_figures
from culnig.studies.fidelity.exact_rows import PROGRESS, forget
from culnig.studies.fidelity.measure import METHODS, measure_fidelity
from culnig.studies.fidelity.rows import Fidelity
from culnig.studies.fidelity.sample import Sampling
from culnig.studies.fidelity.shown import agreement_text, claim, given_text, group_text, sample_text, top_text
from culnig.studies.fidelity.tables import both_strata, by_level, with_intervals

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "fidelity"
Formulation = Literal["mcf", "cf"]


class FidelitySettings(Settings):
    """The study `fidelity`: estimates against exact suppression."""

    items: DataConfig = DataConfig(items="everyday:neur", limit_per_country=1, draws=1)
    controls: DataConfig | Literal["auto"] | None = Field(
        "auto", description="controls, for D = S - S(controls); auto: as many of the run's ctrl; null leaves D out"
    )
    methods: str = Field(METHODS, description="methods that estimate P(gold) lost to zeroing a neuron")
    formulations: list[Formulation] | None = Field(
        None, min_length=1, description="measure under each of them; null is the run's own"
    )
    given: Literal["none", "culture_general"] = Field(
        "none", description="culture_general: measure again while the run's set is suppressed"
    )
    layers: int | None = Field(None, ge=1, description="so many layers, evenly spread; null is all")
    per_cell: int = Field(1, ge=1, description="neurons of each score decile of each module of each layer")
    top: int | None = Field(
        80, ge=0, description="neurons of each pool among all methods' best; a larger union is sampled; null is all"
    )
    top_share: float = Field(0.02, gt=0, le=1, description="how much of a pool counts as a method's best")
    largest: float = Field(0.01, gt=0, le=1, description="largest group that is suppressed together, as a share")
    groups: int = Field(9, ge=0, description="group sizes from 1 to the largest; 0 for none")

    @field_validator("methods")
    @classmethod
    def _methods(cls, text: str) -> str:
        return checked_methods(text)

    def views(self) -> list[tuple[str, Formulation | None, bool]]:
        """Folder of each measurement ("" for the first), its formulation (None is the run's own), whether a set is given."""
        found: list[tuple[str, Formulation | None, bool]] = []
        for formulation in self.formulations or (None,):
            for given in (False, True) if self.given != "none" else (False,):
                name = "-".join(part for part in (formulation, "given" if given else None) if part)
                found.append((name if found else "", formulation, given))
        return found


class FidelityStudy:
    """Neurons of every kind, and every method's top neurons, suppressed exactly."""

    settings = FidelitySettings
    section = "fidelity"
    order = 5
    needs_whole_model = True
    title = "Fidelity: estimates against exact suppression"
    tab = "sure"
    titles: ClassVar = {
        "fidelity": "Agreement with exact suppression",
        "fidelity-by-module-shown": "The stratified sample by module",
        "fidelity-groups": "Groups: sum of the estimates and exact drop",
    }

    def check(self, config: RunSettings) -> None:
        """Check that the prompts can be put under every formulation."""
        for formulation in config.section(FidelitySettings).formulations or ():
            _policy(config, formulation)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        given = run.config.section(FidelitySettings).given
        return {CULTURE_GENERAL: culture_general_set(run)} if given != "none" else {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return []

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return []

    def measured(self, run: SavedRun) -> bool:
        views = run.config.section(FidelitySettings).views()
        return all((_folder(run, view) / "fidelity.json").is_file() for view, _, _ in views)

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        config = run.config.section(FidelitySettings)
        sampling = Sampling(
            layers=config.layers,
            per_cell=config.per_cell,
            top=config.top,
            top_share=config.top_share,
            rule=run.config.culture_general,
            largest=config.largest,
            groups=config.groups,
            seed=run.config.seed,
        )
        items = context.items(config.items)
        controls = context.items(_controls(run)) if config.controls else None
        for view, formulation, given in config.views():
            folder = _folder(run, view)
            if (folder / "fidelity.json").is_file():
                continue
            found = measure_fidelity(
                context.lm,
                items,
                controls=controls,
                methods=config.methods,
                sampling=sampling,
                given=culture_general_set(run) if given else None,
                policy=_policy(run.config, formulation) if formulation else context.scoring_policy,
                token_budget=context.token_budget,
                keep=folder / PROGRESS,
                reporter=context.reporter,
            )
            if distributed.is_main():
                found.save(folder)
                forget(folder / PROGRESS)

    def analyse(self, run: SavedRun) -> Section:
        views = [view for view, _, _ in run.config.section(FidelitySettings).views()]
        seed = run.config.seed
        found = {_title(each): each for each in (Fidelity.load(_folder(run, view)) for view in views)}
        first = next(iter(found.values()))
        tables = by_level(first, seed=seed)
        strata = {title: both_strata(each, seed=seed) for title, each in found.items()}
        whole = pd.concat([table.assign(view=title) for title, table in strata.items()], ignore_index=True)
        section = Section(self.title, titles=self.titles)
        section.tables = {
            "fidelity": with_intervals(whole if len(found) > 1 else whole.drop(columns="view")),
            "fidelity-strata": whole,
            "fidelity-by-module-shown": with_intervals(tables["module"]),
            "fidelity-neurons": pd.concat([e.neurons.assign(view=t) for t, e in found.items()], ignore_index=True),
        }
        section.tables |= {f"fidelity-by-{level}": table for level, table in tables.items()}
        section.tables["fidelity-groups"] = first.groups
        section.text = [
            sample_text(first),
            *top_text(first),
            *given_text(list(found.values())[-1]),
            *agreement_text(tables, first.methods[0]),
        ]
        section.figures = _figures(found, strata, tables)
        if len(first.groups):
            section.text.append(group_text(first.groups))
        section.numbers = {level: tables[level].to_dict("records") for level in ("all", "module")}
        section.numbers["strata"] = whole.to_dict("records")
        section.claim, section.findings = claim(strata[next(iter(found))], first.methods[0])
        return section


STUDIES.register(NAME)(FidelityStudy())

Figures = list[tuple[str, object]]


def _folder(run: SavedRun, view: str) -> Path:
    return run.measured_path(NAME) / view if view else run.measured_path(NAME)


def _policy(config: RunSettings, formulation: Formulation) -> PromptPolicy:
    """How items are put under a formulation that need not be the run's."""
    return config.prompts.model_copy(update={"formulation": formulation}).scoring_policy(formulation)


def _controls(run: SavedRun) -> DataConfig:
    """The controls: those that are named, or of the run's source of controls as many as there are items."""
    config = run.config.section(FidelitySettings)
    if isinstance(config.controls, DataConfig):
        return config.controls
    return config.items.model_copy(update={"items": run.config.identify.ctrl.items})


def _title(found: Fidelity) -> str:
    """The state that was measured, in words."""
    return f"{found.meta['formulation']}, " + ("set suppressed" if found.meta.get("given") else "untouched")


def _figures(found: dict[str, Fidelity], strata: dict[str, pd.DataFrame], tables: dict[str, pd.DataFrame]) -> Figures:
    first = next(iter(found.values()))
    made: Figures = []
    for title, table in strata.items():
        if "precision" in table:
            state = f" ({title})" if len(found) > 1 else ""
            caption = (
                f"Precision at k and regret among the best neurons{state}, with 95 % intervals: the share of a method's k"
                " best that are among the exact k best, and the share of the exact effect that they forgo."
            )
            made.append((caption, fidelity_figures.precision(table)))
    if len(best := first.of("top", first.quantities[-1])):
        caption = (
            f"Exact {first.quantities[-1]} and each method's estimate of it, for the best neurons of all methods; on the line"
            " the two are equal. Both axes are stretched around 0 (signed square root)."
        )
        made.append((caption, fidelity_figures.exact_and_estimate(best, first.methods)))
    caption = "Rank correlation of each S with exact suppression by module (stratified sample), with 95 % intervals."
    made.append((caption, fidelity_figures.agreement_by_module(tables["module"])))
    caption = "The same by layer, over all modules; a method that does not score all of them has no line."
    made.append((caption, fidelity_figures.agreement_by_layer(tables["layer"])))
    if len(first.groups):
        caption = (
            "Each method's top k suppressed together, in % of the neurons it has scored: the sum of its estimates"
            " (dotted) and the exact drop (solid), both in P(gold) weighted by P(gold), on logarithmic scales."
        )
        made.append((caption, fidelity_figures.groups(first.groups)))
    return made
