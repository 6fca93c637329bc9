"""The frontier: what sets of growing size take from culture, against what they cost, by method of choosing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig import distributed
from culnig.errors import UsageError
from culnig.evaluation import EvalResult, TextResult
from culnig.evaluation.comparing import aligned, question_of
from culnig.evaluation.plain_text import by_paragraph
from culnig.figures import INK, colours, empty_figure, legend_below
from culnig.formatting import percent, points
from culnig.guarded.settings import PERPLEXITY, Choice
from culnig.neurons import NeuronSet
from culnig.selection import select_at_budgets, select_general
from culnig.settings import Settings
from culnig.statistics.bootstrap import by_question, joint_bootstrap
from culnig.studies import _frontier_resamples as resamples
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, MeasurementContext, Section
from culnig.studies._compared_methods import method_names, parts_of
from culnig.studies._culture_general_set import select_culture_general
from culnig.studies._frontier_tables import Draws, areas_of, at_equal_drops, at_its_sets, points_of
from culnig.studies.guarded import NAME as GUARDED
from culnig.studies.guarded import GuardedStudySettings, check_protected, guarded_set_path, search

if TYPE_CHECKING:
    from pathlib import Path

    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

NAME = "frontier"
PAPER, CORRECTED = "paper's rule", "culture-general"
ROLES = ("culture", "ability", "facts")


class FrontierSettings(Settings):
    """The study `frontier`: sets of growing size by several methods of choosing, and the area under each frontier."""

    sizes: list[Annotated[int, Field(ge=1)]] = Field(
        [15, 30, 60, 120, 240], min_length=1, description="neurons of the sets; prefixes of each method's order"
    )
    guarded: list[Choice] = Field(
        ["greedy"], min_length=1, description="methods of guarded selection, searched by the section `guarded`"
    )
    most: dict[str, float] = Field(
        {PERPLEXITY: 0.1, "ability": 0.05, "facts": 0.05},
        description="cost -> the largest budget: perplexity as a rise, ability and facts as a fall of accuracy, as shares",
    )
    at: list[float] = Field(
        [0.05, 0.1, 0.15, 0.2], description="drops of culture (shares) at which the cost in perplexity is compared"
    )
    resamples: int = Field(
        0, ge=0, description="search again so many times, each by a random half of the questions and by other texts"
    )
    resampled: int = Field(60, ge=1, description="neurons of these searches; sizes up to it are cut from their orders")


class FrontierStudy:
    """Each method's order is cut at the same sizes, and every set is evaluated on the same items and texts."""

    settings = FrontierSettings
    section = NAME
    order = 12
    needs = ("culture",)
    measures_first = True
    tab = "sure"
    title = "The frontier: culture against everything else"
    titles: ClassVar = {
        "frontier-areas": "Area under the frontier",
        "frontier-equal": "Cost in perplexity at equal drops of culture",
        "frontier-at-sets": "Cost in perplexity at the drop of each set of another method",
        "frontier-points": "Every set",
        "frontier-resamples": "Sets searched by halves of the questions, against the paper's rule on all of them",
        "frontier-overlaps": "Overlap of the sets of two halves",
    }

    def check(self, config: RunSettings) -> None:
        """Check before a model is loaded what is protected, and that there is a cost to compare by."""
        check_protected(config, GUARDED, config.section(GuardedStudySettings))
        known = (PERPLEXITY, *ROLES[1:])
        for name, most in config.section(FrontierSettings).most.items():
            if name not in known or most <= 0:
                raise UsageError(f"frontier.most.{name}: give {', '.join(known)}, each a share above 0")

    def measured(self, run: SavedRun) -> bool:
        settings = run.config.section(FrontierSettings)
        return all(_order_path(run, name).is_file() for name in [*settings.guarded, *_halves(settings)])

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        """Search by each guarded method without a budget of harm, so that its order reaches the largest size.

        Where the run has the study `guarded` too, its set is the order of its method, and nothing is searched twice.
        """
        settings = run.config.section(FrontierSettings)
        for choice in settings.guarded:
            if _order_path(run, choice).is_file():
                continue
            if GUARDED in run.config.studies and choice == run.config.section(GuardedStudySettings).method:
                if distributed.is_main():
                    NeuronSet.load(guarded_set_path(run)).save(_order_path(run, choice))
                continue
            changes: dict[str, Any] = {"method": choice, "harm": {}, "target": None, "max_neurons": max(settings.sizes)}
            _search(run, context, choice, changes | {"backward": False})
        for number, name in enumerate(_halves(settings), 1):
            if not _order_path(run, name).is_file():
                _search(run, context, name, resamples.search_changes(number, settings.resampled), half=True)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        sizes = run.config.section(FrontierSettings).sizes
        return {
            set_name(label, size): order.top(size)
            for label, order in _orders(run).items()
            for size in sizes
            if size <= len(order)
        }

    def conditions(self, run: SavedRun) -> list[Condition]:
        groups = _sets(run) | _sets(run, _halves(run.config.section(FrontierSettings)))
        names = [name for members in groups.values() for name in members.values()]
        return [UNTOUCHED, *(_condition(name, run.config) for name in names)]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        settings = config.section(FrontierSettings)
        labels = [PAPER, CORRECTED, *method_names(config)[1:], *map(guarded_label, settings.guarded)]
        sets = [(label, size) for label in labels for size in settings.sizes]
        sets += [(name, size) for name in _halves(settings) for size in settings.sizes if size <= settings.resampled]
        return [UNTOUCHED, *(_condition(set_name(label, size), config) for label, size in sets)]

    def analyse(self, run: SavedRun) -> Section:
        settings = run.config.section(FrontierSettings)
        section = Section(self.title, titles=self.titles)
        sets, halves = _sets(run), _sets(run, _halves(settings))
        ours = guarded_label(settings.guarded[0])
        names = ("frontier-areas", "frontier-equal", "frontier-at-sets", "frontier-points")
        found: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
        again: list[pd.DataFrame] = []
        for test in run.config.tests_of("culture"):
            draws = {label: _draws(run, list(members.values()), test) for label, members in sets.items()}
            on_test = (
                areas_of(draws, ours, settings.most),
                at_equal_drops(draws, ours, settings.at),
                at_its_sets(sets, draws, ours),
                points_of(sets, draws),
            )
            for parts, each in zip(found.values(), on_test, strict=True):
                each.insert(0, "test", test.label)
                parts.append(each)
            if halves and PERPLEXITY in draws[PAPER]:
                on_halves = {name: _draws(run, list(members.values()), test) for name, members in halves.items()}
                rng = np.random.default_rng(run.config.seed)
                largest = settings.most.get(PERPLEXITY, FrontierSettings().most[PERPLEXITY])
                sizes = list(sets[PAPER])
                each = resamples.compared(on_halves, draws[PAPER], sizes, settings.at, largest, rng)
                each.insert(0, "test", test.label)
                again.append(each)
        if again:
            found["frontier-resamples"] = again
        section.tables = {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}
        if settings.resamples > 1:
            orders = {name: NeuronSet.load(_order_path(run, name)) for name in _halves(settings)}
            section.tables["frontier-overlaps"] = resamples.overlaps(orders, settings.resampled)
        main = {name: parts[0] for name, parts in found.items()}
        areas, table = main["frontier-areas"], main["frontier-points"]
        section.numbers = {name: each.to_dict("records") for name, each in section.tables.items()}
        section.text = [*_text(ours, settings, found["frontier-areas"]), *resamples.told(section.tables)]
        costs = [name for name in settings.most if name in table]
        section.figures = [
            (f"Drop of culture accuracy against the cost in {name}, by method; a point is a set, and sets grow along a line.",
             frontier_figure(table, name, settings.most[name]))
            for name in costs
        ]  # fmt: skip
        best = areas[(areas["method"] == ours) & (areas["cost"] == costs[0])].iloc[0] if costs else None
        if best is not None:
            value = f"{100 * best['area']:.1f} points"
            detail = f"mean drop of culture within {percent(settings.most[costs[0]])} {costs[0]}"
            section.findings = [Finding(f"frontier, {ours}", value, detail)]
        return section


STUDIES.register(NAME)(FrontierStudy())


def guarded_label(choice: str) -> str:
    """Name of a guarded method in tables: "guarded, greedy"."""
    return f"guarded, {choice}"


def set_name(label: str, size: int) -> str:
    """Name of a set and of its condition: "frontier.guarded-greedy.30"."""
    return f"{NAME}.{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}.{size}"


def _halves(settings: FrontierSettings) -> list[str]:
    return [resamples.half_label(number) for number in range(1, settings.resamples + 1)]


def _search(
    run: SavedRun, context: MeasurementContext, name: str, changes: dict[str, Any], *, half: bool = False
) -> None:
    """Search, keep the rounds so far beside the order, and save the order."""
    progress = _order_path(run, name).with_suffix(".progress")
    path = search(run, context, changes, progress, half=half)
    if distributed.is_main():
        path.neurons.save(_order_path(run, name))
        progress.unlink(missing_ok=True)


def _condition(name: str, config: RunSettings) -> Condition:
    return Condition(name, name, config.operation, ROLES, everywhere=True)


def _order_path(run: SavedRun, name: str) -> Path:
    return run.measured_path(NAME) / f"{name}.json"


def _orders(run: SavedRun) -> dict[str, NeuronSet]:
    """Each method's neurons, the first to be taken first; all but the two rules choose of the same modules."""
    config, settings = run.config, run.config.section(FrontierSettings)
    neur, ctrl, crc = (run.scores(part) for part in ("neur", "ctrl", "crc"))
    orders = {PAPER: select_general(neur, ctrl, crc, preset="paper"), CORRECTED: select_culture_general(run)}
    modules = config.section(GuardedStudySettings).modules or list(neur.shapes())
    for method in method_names(config)[1:]:
        parts = parts_of(run, method)
        shapes = parts["neur"].shapes()
        if not set(modules) <= set(shapes):
            continue
        smallest = min(shapes[module][0] * shapes[module][1] for module in modules)
        [found] = select_at_budgets(
            parts["neur"], parts["ctrl"], parts["crc"], modules, [min(1.0, max(settings.sizes) / smallest)],
            ability=parts.get("ability"), rule=config.culture_general,
        )  # fmt: skip
        # The best of each module; the order is over all of them.
        ordered = sorted(found.scores.items(), key=lambda pair: -pair[1])
        orders[method] = NeuronSet(
            dict(ordered),
            model_name=found.model_name,
            provenance=found.provenance,
            expert_widths=found.expert_widths,
        )
    for choice in settings.guarded:
        orders[guarded_label(choice)] = NeuronSet.load(_order_path(run, choice))
    return orders | {name: NeuronSet.load(_order_path(run, name)) for name in _halves(settings)}


def _sets(run: SavedRun, labels: list[str] | None = None) -> dict[str, dict[int, str]]:
    """Method -> size -> name, of the saved sets; `labels` are the methods by default."""
    settings = run.config.section(FrontierSettings)
    if labels is None:
        labels = [PAPER, CORRECTED, *method_names(run.config)[1:], *map(guarded_label, settings.guarded)]
    there = set(run.set_names(NAME))
    found = {
        label: {s: set_name(label, s) for s in sorted(settings.sizes) if set_name(label, s) in there}
        for label in labels
    }
    return {label: sizes for label, sizes in found.items() if sizes}


def _draws(run: SavedRun, names: list[str], culture: TestConfig) -> Draws:
    """What each set costs, with resamples that all methods share: of questions, and of paragraphs."""
    rng = np.random.default_rng(run.config.seed)
    found: Draws = {}
    for role in ROLES:
        if test := culture if role == "culture" else run.config.test_of(role):
            found[role] = _falls([run.result_on(test, name) for name in ["none", *names]], rng)
    texts = [run.text(name) for name in ["none", *names]]
    if all(text is not None for text in texts):
        found[PERPLEXITY] = _rises([text for text in texts if text is not None], rng)
    return found


def _falls(results: list[EvalResult], rng: np.random.Generator) -> np.ndarray:
    """Fall of accuracy under each set, [1 + resamples, sets]."""
    untouched, *others = results
    questions = question_of(untouched.rows)
    before = untouched.values("correct")
    parts = [by_question(before - aligned(untouched, each).values("correct"), questions) for each in others]
    sums, counts = np.stack([part for part, _ in parts], axis=1), parts[0][1]
    return np.concatenate([(sums.sum(axis=0) / counts.sum())[None], joint_bootstrap(sums, counts, rng)])


def _rises(texts: list[TextResult], rng: np.random.Generator) -> np.ndarray:
    """Rise of perplexity under each set, as a share, [1 + resamples, sets]."""
    untouched, *others = texts
    tokens = by_paragraph(untouched, "tokens")
    lost = np.stack([by_paragraph(untouched, "logprob") - by_paragraph(each, "logprob") for each in others], axis=1)
    return np.expm1(np.concatenate([(lost.sum(axis=0) / tokens.sum())[None], joint_bootstrap(lost, tokens, rng)]))


def _text(ours: str, settings: FrontierSettings, all_areas: list[pd.DataFrame]) -> list[str]:
    """Say what an area is, and for each culture test whom ours is ahead of."""
    first = next(iter(settings.most))
    found = [
        f"Each method orders neurons, and its first {', '.join(map(str, settings.sizes))} are suppressed. The area is the mean"
        " drop of culture that a set within a budget has, over budgets from 0 to the largest. Resamples of questions and of"
        " paragraphs are shared by all methods."
    ]
    for areas in all_areas:
        part = areas[areas["cost"] == first]
        if ours not in set(part["method"]) or "p_adjusted" not in part:
            continue
        others = part[part["method"] != ours]
        ahead = others[(others["lead_low"] > 0) & (others["p_adjusted"] < 0.05)]["method"]
        own = part[part["method"] == ours].iloc[0]
        found.append(
            f"On {own['test']}, within {percent(settings.most[first])} {first}, {ours} has {points(own['area']).lstrip('+')}"
            f" points ({points(own['low']).lstrip('+')} to {points(own['high']).lstrip('+')}). It is ahead of"
            f" {', '.join(ahead) if len(ahead) else 'no other method'} (interval of the difference, and Holm's correction)."
        )
    return found


def frontier_figure(table: pd.DataFrame, cost: str, most: float) -> go.Figure:
    """Drop of culture against one cost; a line a method, from the untouched model through sets of growing size.

    Args:
        table: columns method, neurons, culture and the cost, as shares.
        cost: the column of the cost.
        most: the largest budget, where a line stands.
    """
    methods = list(dict.fromkeys(table["method"]))
    colour = colours(methods)
    figure = empty_figure(420)
    for method in methods:
        part = table[table["method"] == method].sort_values("neurons")
        figure.add_scatter(
            x=[0, *(100 * part[cost])],
            y=[0, *(100 * part["culture"])],
            customdata=[0, *part["neurons"]],
            mode="lines+markers",
            name=method,
            line={"color": colour[method], "width": 3 if method.startswith("guarded") else 1.6},
            marker={"size": 7},
            hovertemplate=f"{method}, %{{customdata}} neurons: culture −%{{y:.1f}} points, {cost} %{{x:.1f}}<extra></extra>",
        )
    figure.add_vline(x=100 * most, line={"color": INK, "width": 1, "dash": "dot"})
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title=f"{cost}: {'% higher' if cost == PERPLEXITY else 'points lost'}")
    figure.update_yaxes(title="culture lost, points")
    return legend_below(figure)
