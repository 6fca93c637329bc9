"""Guarded selection: a set chosen step by step under a budget of harm, beside the set of the paper's rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig import distributed
from culnig.data import DataConfig, load_texts
from culnig.errors import UsageError
from culnig.evaluation import compare, compare_text
from culnig.figures import ACCENT, COOL, INK, empty_figure, error_bars, legend_below
from culnig.files import read_json, write_json
from culnig.formatting import interval, points
from culnig.guarded import GuardedData, GuardedPath, GuardedSettings, guarded_data, select_guarded
from culnig.guarded.data import half_of, name_countries
from culnig.guarded.path import Round
from culnig.guarded.settings import PERPLEXITY, Replacement
from culnig.intervention import Operation
from culnig.neurons import NeuronSet
from culnig.selection import select_random
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._guards import add_guards
from culnig.studies.culture_general import random_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from culnig.data import Item
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

NAME = "guarded"
RANDOM = "random-guarded-"
ROLES = ("culture", "ability", "facts", "surface")


class GuardedStudySettings(GuardedSettings):
    """The study `guarded`: the budget of harm, and the development data that it is checked on."""

    controls: Literal["auto", "countries", "ctrl", "none"] = Field(
        "auto",
        description="what culture is contrasted with: the same questions about other countries, identify.ctrl, or nothing;"
        " auto is countries where questions name one, else ctrl",
    )
    protect: dict[str, DataConfig] = Field(
        {
            "ability": DataConfig(items="ability:dev"),
            "school": DataConfig(items="school:dev"),
            "facts": DataConfig(items="facts:world-dev"),
        },
        description="name -> items of what should stay; development sets, never test sets",
    )
    own_texts: str | None = Field(None, description="file of paragraphs to protect; null: texts sampled from the model")


class GuardedStudy:
    """Search on `identify.neur` and protected development data, and test the set on the run's test sets."""

    settings = GuardedStudySettings
    section = NAME
    order = 11
    needs = ("culture",)
    measures_first = True
    title = "A set under a budget of harm"
    titles: ClassVar = {
        "guarded-sides": "Both sets on the test sets",
        "guarded-guard-verdicts": "Guards: does the model still work?",
        "guarded-path": "The rounds, on development data",
    }

    def check(self, config: RunSettings) -> None:
        """Check before a model is loaded that every budget is of something protected."""
        check_protected(config, NAME, config.section(GuardedStudySettings))

    def measured(self, run: SavedRun) -> bool:
        return guarded_set_path(run).is_file()

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Search; the rounds so far are kept, and taken up again."""
        progress = run.measured_path(NAME) / ".progress.json"
        path = search(run, context, {}, progress)
        if distributed.is_main():
            write_json(_path(run), {"stopped": path.stopped, "rounds": [each.to_json() for each in path.rounds]})
            path.neurons.save(guarded_set_path(run))
            progress.unlink(missing_ok=True)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        chosen = NeuronSet.load(guarded_set_path(run))
        sets = {CULTURE_GENERAL: culture_general_set(run), NAME: chosen}
        for i, name in enumerate(_random(run.config) if len(chosen) else []):
            sets[name] = select_random(chosen, run.scores("neur").shapes(), seed=run.config.seed + i)
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, []) if len(run.neurons(NAME)) else [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        both = [
            Condition(name, name, config.operation, ROLES, main=True, everywhere=True)
            for name in (CULTURE_GENERAL, NAME)
        ]
        random = [
            Condition(name, name, config.operation, ("culture", "ability", "facts"), everywhere=True)
            for name in _random(config)
        ]
        return [UNTOUCHED, *both, *random]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        saved = read_json(_path(run), "the path of a guarded selection")
        path = GuardedPath([Round.from_json(each) for each in saved["rounds"]], saved["stopped"])
        chosen = run.neurons(NAME)
        section.tables["guarded-path"] = path.table
        section.numbers = {"neurons": len(chosen), "stopped": path.stopped}
        section.text = [_told(run, path, len(chosen))]
        if path.rounds:
            section.figures = [
                (
                    "Every round of the search on development data: what culture lost, and the rise of perplexity. Crosses"
                    " were taken back.",
                    path_figure(path.table),
                )
            ]
        if not len(chosen):
            return section
        sides = pd.DataFrame(_sides(run))
        section.tables["guarded-sides"] = sides
        section.numbers["sides"] = sides.to_dict("records")
        section.text.append(_compared(run, sides))
        add_guards(section, run, [CULTURE_GENERAL, NAME], prefix="guarded-")
        own = sides[(sides["set"] == NAME) & (sides["role"] == "culture") & (sides["against"] == "untouched")].iloc[0]
        section.findings = [
            Finding(
                "culture, guarded set", f"{points(own['difference'])} points", f"{len(chosen)} neurons; {interval(own)}"
            )
        ]
        return section


STUDIES.register(NAME)(GuardedStudy())


class ProtectingSettings(Protocol):
    """What the sections of all guarded studies hold."""

    harm: dict[str, float]
    operation: Replacement
    protect: dict[str, DataConfig]


def check_protected(
    config: RunSettings, section: str, settings: ProtectingSettings, besides: Sequence[str] = ()
) -> None:
    """Check that every budget is of something protected, and that no test set of the run is.

    Args:
        config: the run's settings.
        section, settings: a guarded study's section, and its name.
        besides: what the study protects of itself, besides `perplexity` and `protect`.

    Raises:
        UsageError: it is not so, or the search would do something else to neurons than the run.
    """
    known = (PERPLEXITY, *besides, *settings.protect)
    if unknown := [name for name in settings.harm if name not in known]:
        raise UsageError(f"{section}.harm: nothing called {unknown[0]} is protected; there are {', '.join(known)}")
    if settings.operation not in (GuardedSettings().operation, _operation(config)):
        raise UsageError(
            f"{section}.operation: {settings.operation}, but the run's operation is {config.operation}; set `operation` alone"
        )
    tested = {test.items for test in config.test}
    if shared := [name for name, data in settings.protect.items() if data.items in tested]:
        raise UsageError(f"{section}.protect.{shared[0]} is a test set of this run; protect by development items")


def _operation(config: RunSettings) -> str:
    """Return what the search does to neurons: what the run's conditions do, or suppression where they scale."""
    return config.operation if Operation.parse(config.operation).reference else "suppress"


def search(
    run: SavedRun, context: MeasurementContext, changes: Mapping[str, Any], progress: Path, *, half: bool = False
) -> GuardedPath:
    """Search on the run's development data.

    Args:
        run: the run, whose section `guarded` says how.
        context: the model and the items.
        changes: settings of the search that differ from the section.
        progress: file that keeps the rounds so far, and from which they are taken up again.
        half: search by a random half of the culture questions; the seed of the search decides which.
    """
    settings = run.config.section(GuardedStudySettings).model_copy(update=dict(changes))
    culture, wanted = context.items(run.config.identify.neur), settings.controls
    if half:
        culture = half_of(culture, settings.seed)
    if wanted == "auto":
        wanted = "countries" if name_countries(culture) else "ctrl"
    controls: list[Item] | str = "countries" if wanted == "countries" else []
    if wanted == "ctrl":
        controls = context.items(run.config.identify.ctrl)
    with context.reporter.step("prepare the guarded selection"):
        data = guarded_data(
            context.lm,
            culture,
            controls=controls,
            protect={name: context.items(each) for name, each in settings.protect.items()},
            texts=load_texts(settings.own_texts) if settings.own_texts else None,
            checked=settings.checked,
            seed=settings.seed,
        )
    return search_in(run, context, settings, data, progress, changes)


def search_in(
    run: SavedRun,
    context: MeasurementContext,
    settings: GuardedSettings,
    data: GuardedData,
    progress: Path,
    changes: Mapping[str, Any] | None = None,
) -> GuardedPath:
    """Search in given development data as a study's settings say, under the operation of the run.

    Args:
        run, context, progress, changes: as for `search`.
        settings: a study's settings; those of the search are taken from it.
        data: the development data.
    """
    options = settings.model_dump(include=set(GuardedSettings.model_fields))
    plain = GuardedSettings(**(options | {"operation": _operation(run.config)} | dict(changes or {})))
    return select_guarded(
        context.lm, data, plain, policy=context.policy, checkpoint=progress, reporter=context.reporter
    )


def _path(run: SavedRun) -> Path:
    return run.measured_path(NAME) / "path.json"


def guarded_set_path(run: SavedRun) -> Path:
    """Where the run keeps the guarded set."""
    return run.measured_path(NAME) / "neurons.json"


def _random(config: RunSettings) -> list[str]:
    return [f"{RANDOM}{i}" for i in range(len(random_names(config)))]


def _sides(run: SavedRun) -> list[dict[str, Any]]:
    """Rows for each test set: both sets against the untouched model, the guarded one against random sets and the other."""
    rows = []
    for test in (test for role in ROLES for test in run.config.tests_of(role)):
        results = {name: run.result_on(test, name) for name in ("none", CULTURE_GENERAL, NAME)}
        random = [run.result_on(test, name) for name in _random(run.config) if run.result_path(test, name).is_file()]
        pairs = [(CULTURE_GENERAL, "untouched", [results["none"]]), (NAME, "untouched", [results["none"]])]
        pairs += [(NAME, "random", random)] if random else []
        pairs.append((NAME, CULTURE_GENERAL, [results[CULTURE_GENERAL]]))
        for name, against, others in pairs:
            where = {"role": test.role, "test": test.label, "set": name, "against": against}
            rows.append(where | compare(results[name], others, seed=run.config.seed).to_dict())
    return rows


def _told(run: SavedRun, path: GuardedPath, neurons: int) -> str:
    settings = run.config.section(GuardedStudySettings)
    budget = ", ".join(
        f"{name} at most {100 * most:g} {'% higher' if name == PERPLEXITY else 'points lower'}"
        for name, most in settings.harm.items()
    )
    kept = sum(each.kept for each in path.rounds)
    return (
        f"The search chose {neurons} neurons in {kept} of {len(path.rounds)} rounds, under this budget: {budget}. It stopped because"
        f" {path.stopped}. Each round ranks all neurons with the chosen ones suppressed, and is checked exactly on development data."
        " Test sets had no part in it. Every prefix of the set is a set."
    )


def _compared(run: SavedRun, sides: pd.DataFrame) -> str:
    """Both sets side by side in words, perplexity included."""
    first = (
        sides[(sides["role"] == "culture") & (sides["against"] == "untouched")].drop_duplicates("set").set_index("set")
    )
    ours, theirs = first.loc[NAME], first.loc[CULTURE_GENERAL]
    text = (
        f"On {ours['test']} the guarded set changes accuracy by {points(ours['difference'])} points ({interval(ours)}), and the"
        f" culture-general set of {len(run.neurons(CULTURE_GENERAL))} neurons by {points(theirs['difference'])} ({interval(theirs)})."
    )
    texts = {name: run.text(name) for name in ("none", CULTURE_GENERAL, NAME)}
    untouched, other, own = texts["none"], texts[CULTURE_GENERAL], texts[NAME]
    if untouched and other and own:
        mine, paper, ratio = compare_text(own, untouched), compare_text(other, untouched), compare_text(own, other)
        text += (
            f" Perplexity on plain text changes by {100 * (mine.ratio - 1):+.1f} % and by {100 * (paper.ratio - 1):+.1f} %; their"
            f" ratio is {ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f})."
        )
    return text


def path_figure(table: pd.DataFrame) -> go.Figure:
    """Culture's drop and the rise of perplexity by round, against the size of the set; rounds taken back are crosses."""
    figure = empty_figure(320)
    for name, sign, colour, label in (
        ("culture", -1, ACCENT, "culture lost, points"),
        (PERPLEXITY, 1, COOL, "perplexity, % higher"),
    ):
        kept = table[table["kept"]]
        figure.add_scatter(
            x=[0, *kept["neurons"]],
            y=[0, *(sign * 100 * kept[name])],
            mode="lines",
            line={"color": colour},
            hoverinfo="skip",
            showlegend=False,
        )
        low, high = (f"{name} low", f"{name} high") if sign > 0 else (f"{name} high", f"{name} low")
        figure.add_scatter(
            x=list(table["neurons"]),
            y=list(sign * 100 * table[name]),
            error_y=error_bars(sign * table[name], sign * table[low], sign * table[high], unit=100, thickness=1.2),
            mode="markers",
            name=label,
            marker={"size": 8, "color": colour, "symbol": ["circle" if k else "x" for k in table["kept"]]},
            hovertemplate=f"%{{x}} neurons, {label}: %{{y:.1f}}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="neurons suppressed")
    legend_below(figure)
    return figure
