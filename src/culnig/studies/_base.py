"""What a study is: neuron sets to make, conditions to evaluate, and an analysis that becomes a section of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pandas as pd

from culnig.data import Item
from culnig.errors import UsageError
from culnig.neurons import NeuronSet
from culnig.registry import Registry
from culnig.studies._saved import SavedRun, identification_sets
from culnig.studies._settings import RunSettings, TestConfig

if TYPE_CHECKING:
    from culnig.data import DataConfig
    from culnig.finetune.settings import FinetuneConfig
    from culnig.models import LanguageModel
    from culnig.progress import Reporter
    from culnig.prompts import PromptPolicy
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig


@dataclass(frozen=True)
class Condition:
    """A model state to evaluate, on the test sets of some roles.

    Attributes:
        name: file name of its results ("none", "culture-general", "specific-China").
        neurons: name of the neuron set, None for the untouched model.
        operation: as `Operation.parse` takes it ("suppress", "mean").
        roles: roles of the test sets it is evaluated on.
        countries: only these countries' items; None is all.  Country reading is always evaluated on all: it guards the
            model, not a country.
        everywhere: evaluated on all test sets of its roles, not on the first of each alone.
        main: whether the run's claim rests on it; its guards are always measured, those of others if the config says so.
    """

    name: str
    neurons: str | None
    operation: str
    roles: tuple[str, ...]
    countries: tuple[str, ...] | None = None
    main: bool = False
    everywhere: bool = False

    def of(self, items: list[Item], role: str) -> list[Item]:
        """The items of a test set that the condition is evaluated on."""
        if self.countries is None or role == "surface":
            return items
        return [item for item in items if item.country in self.countries]

    def wanted(self, test: TestConfig, config: RunSettings) -> bool:
        """Whether it is evaluated on a test set."""
        if not self.everywhere and test != config.test_of(test.role):
            return False
        guarded = self.guarded(config) and (self.main or config.guards.reading == "all")
        return test.role in self.roles or (test.role == "surface" and guarded)

    def guarded(self, config: RunSettings) -> bool:
        """Whether the model is guarded under it: plain text is read, and country reading unless the config leaves it out."""
        return self.main or config.guards.conditions == "all"


def merged(conditions: Iterable[Condition]) -> dict[str, Condition]:
    """Conditions by name; one that several studies ask for is evaluated on the roles of all of them."""
    found: dict[str, Condition] = {}
    for condition in conditions:
        if earlier := found.get(condition.name):
            roles = tuple(dict.fromkeys((*earlier.roles, *condition.roles)))
            main, everywhere = earlier.main or condition.main, earlier.everywhere or condition.everywhere
            condition = replace(earlier, roles=roles, main=main, everywhere=everywhere)
        found[condition.name] = condition
    return found


TABS = {
    "overview": "Overview",
    "where": "Where",
    "neurons": "Neurons",
    "questions": "Questions",
    "countries": "Countries",
    "sure": "How sure",
    "run": "How it was run",
}
"""Tabs of the report, in their order: name -> heading."""

UNTOUCHED = Condition("none", None, "", ("culture", "ability", "facts", "surface", "task"), main=True, everywhere=True)


@dataclass(frozen=True)
class Tuning:
    """A model to tune and then to evaluate, on the test sets of some roles.

    Attributes:
        name: file name of its results, and of its folder under `tuned/` ("top-0").
        config: the fine-tuning.
        roles: roles of the test sets it is evaluated on.
        watched: name of the neuron set whose rows are compared with those before.
        after: name of a shorter tuning with the same settings, which this one goes on from; it comes earlier.
        to_go_on: a longer tuning goes on from this one.
    """

    name: str
    config: FinetuneConfig
    roles: tuple[str, ...]
    watched: str
    after: str | None = None
    to_go_on: bool = False


@dataclass(frozen=True)
class Finding:
    """One figure of the summary: a number with its interval and what it means."""

    label: str
    value: str
    detail: str
    good: bool | None = None


@dataclass
class Section:
    """A study's part of the report.

    Attributes:
        title: heading.
        text: paragraphs (plain text).
        findings: figures for the summary at the top.
        figures: (caption, plotly figure).
        tables: name -> data frame; all are saved as Parquet and CSV.
        titles: name of a table -> its heading in the report; a table without a heading is saved only.
        claim: sentences for the top of the report; plain text.
        numbers: JSON values for `results.json`.
        cards: what is known of single neurons, as JSON values; `studies._cards` says what they hold.
        study: name of the study; `placed` fills it in, and the two below.
        tab: tab of the report that the section stands on.
        places: name of a table -> another tab that the table stands on.
    """

    title: str
    text: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    figures: list[tuple[str, Any]] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    claim: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    cards: list[dict[str, Any]] = field(default_factory=list)
    study: str = ""
    tab: str = "overview"
    places: Mapping[str, str] = field(default_factory=dict)


class Study(Protocol):
    """A question to a run: its settings, neuron sets, conditions, analysis, figures and headings.

    A study that has settings also has `settings`, a class derived from `culnig.settings.Settings` with a default for every
    field, and `section`, the name of its section in a run's config.  It may also have `needs`, the roles of test sets it
    cannot do without, and `trains_weights`, where it trains weights themselves, which quantised models do not allow.
    `needs_whole_model` says that it reads whole weights, or runs passes that a sharded model does not (`fidelity`, `diff`).
    All three are checked before a model is loaded, and so is what its `check(config)` finds wrong, if it has one.

    `tab` names the tab of the report that its section stands on, one of `TABS`; without it that is the first.
    `places` names other tabs for some of its tables, and `figures.on_tab` does so for a figure.
    """

    order: int
    """Place in the report."""
    title: str
    """Heading of its section in the report."""

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        """Neuron sets to make from the run's scores: name -> set."""
        ...

    def conditions(self, run: SavedRun) -> list[Condition]:
        """What must be evaluated."""
        ...

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        """The conditions to expect before anything is scored, given the countries of the test items; for plans."""
        ...

    def analyse(self, run: SavedRun) -> Section:
        """The section, from saved files alone."""
        ...


@dataclass(frozen=True)
class MeasurementContext:
    """What a study measures with, besides evaluations.

    Attributes:
        lm: the untouched model.
        policy: how items are put to it, and how answers are judged.
        scoring_policy: the same for scores, which have a calibration of their own.
        items: data entry of the config -> its items.
        reporter: shows progress.
        token_budget: padded tokens a batch.
    """

    lm: LanguageModel
    policy: PromptPolicy
    scoring_policy: PromptPolicy
    items: Callable[[DataConfig], list[Item]]
    reporter: Reporter
    token_budget: int | None


@runtime_checkable
class Measuring(Protocol):
    """A study that needs the model for more than evaluations; its files are in `run.measured_path(...)`.

    It measures after evaluation.  With `measures_first = True` it does so before selection, and may select from its files.
    """

    def measured(self, run: SavedRun) -> bool:
        """Whether its files are all there."""
        ...

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Measure, and write the files (on the main process alone)."""
        ...


@runtime_checkable
class Scoring(Protocol):
    """A study that needs further sets scored, besides those that neurons are found on."""

    def scored(self, config: RunSettings) -> dict[str, DataConfig]:
        """Name of the score file -> the set; names of controls end in `ctrl`."""
        ...


@runtime_checkable
class TuningStudy(Study, Protocol):
    """A study that also tunes models; a run does so between evaluation and analysis."""

    def tunings(self, run: SavedRun) -> list[Tuning]:
        """What must be tuned and evaluated."""
        ...


STUDIES: Registry[Study] = Registry("study", "culnig.studies", "culnig.studies")


def studies_of(config: RunSettings) -> list[tuple[str, Study]]:
    """The studies of a run with their names, in the order of the report."""
    return sorted(((name, STUDIES.get(name)) for name in config.studies), key=lambda pair: pair[1].order)


def placed(name: str, study: Study, section: Section) -> Section:
    """Return the section with its study's name and the tabs that the study asks for.

    Raises:
        UsageError: a tab that the report does not have.
    """
    section.study, section.tab = name, getattr(study, "tab", "overview")
    section.places = getattr(study, "places", {})
    for tab in (section.tab, *section.places.values()):
        if tab not in TABS:
            raise UsageError(f"study '{name}' asks for the tab '{tab}'; the report has {', '.join(TABS)}")
    return section


def scored_sets(config: RunSettings) -> dict[str, DataConfig]:
    """All sets that a run scores, by the names of their score files."""
    sets = identification_sets(config)
    for _, study in studies_of(config):
        if isinstance(study, Scoring):
            sets |= study.scored(config)
    return sets
