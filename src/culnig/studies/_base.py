"""What a study is: neuron sets to make, conditions to evaluate, and an analysis that becomes a section of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pandas as pd

from culnig.benchmarks import Item
from culnig.neurons import NeuronSet
from culnig.registry import Registry

if TYPE_CHECKING:
    from culnig.config import FinetuneConfig
    from culnig.run_directory import RunDirectory


@dataclass(frozen=True)
class Condition:
    """A model state to evaluate, on the test sets of some roles.

    Attributes:
        name: file name of its results ("none", "general", "specific-China").
        neurons: name of the neuron set, None for the untouched model.
        operation: suppress, enhance or scale=FACTOR.
        roles: roles of the test sets it is evaluated on.
        countries: only these countries' items; None is all.
    """

    name: str
    neurons: str | None
    operation: str
    roles: tuple[str, ...]
    countries: tuple[str, ...] | None = None

    def of(self, items: list[Item]) -> list[Item]:
        """The items that the condition is evaluated on."""
        return items if self.countries is None else [item for item in items if item.country in self.countries]


UNTOUCHED = Condition("none", None, "", ("culture", "general", "surface", "task"))


@dataclass(frozen=True)
class Tuning:
    """A model to tune and then to evaluate, on the test sets of some roles.

    Attributes:
        name: file name of its results, and of its folder under `tuned/` ("top-0").
        config: the fine-tuning.
        roles: roles of the test sets it is evaluated on.
        watched: name of the neuron set whose rows are compared with those before.
    """

    name: str
    config: FinetuneConfig
    roles: tuple[str, ...]
    watched: str


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
        tables: name -> data frame; shown in the report and saved as Parquet and CSV.
        claim: sentences for the top of the report; plain text.
        numbers: JSON values for `results.json`.
    """

    title: str
    text: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    figures: list[tuple[str, Any]] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    claim: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


class Study(Protocol):
    """What a file in this folder registers."""

    order: int
    """Place in the report."""
    title: str

    def select(self, run: RunDirectory) -> dict[str, NeuronSet]:
        """Neuron sets to make from the run's scores: name -> set."""
        ...

    def conditions(self, run: RunDirectory) -> list[Condition]:
        """What must be evaluated."""
        ...

    def analyse(self, run: RunDirectory) -> Section:
        """The section, from saved files alone."""
        ...


@runtime_checkable
class TuningStudy(Study, Protocol):
    """A study that also tunes models; a run does so between evaluation and analysis."""

    def tunings(self, run: RunDirectory) -> list[Tuning]:
        """What must be tuned and evaluated."""
        ...


STUDIES: Registry[Study] = Registry("study", "culnig.studies", "culnig.studies")
