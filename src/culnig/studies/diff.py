"""A tuned checkpoint beside its base: what tuning did to culture, ability and the neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, TextResult, compare, compare_by, compare_text, significance_table
from culnig.evaluation.comparing import aligned
from culnig.figures import ACCENT, QUIET, empty_figure, error_bars
from culnig.formatting import format_number, interval, p_equals, points
from culnig.models.places import check_place
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set
from culnig.studies._diff_measure import NAME, ROLES, is_measured, measure_tuned, path_of, result_path, tests_of
from culnig.studies._diff_neurons import add_neurons

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

SHOWN = 30


class DiffSettings(Settings):
    """Study `diff`: the checkpoint that was tuned from the run's model."""

    tuned: str = Field("", description="the tuned model: folder, adapter folder, alias or hub id")
    revision: str | None = Field(None, description="commit or branch of a hub id")
    merge_adapter: bool = Field(True, description="add a PEFT adapter to the weights, so that rows can be compared")
    random_sets: int = Field(20, ge=1, le=1000, description="matched random sets whose rows are compared")


class DiffStudy:
    """Evaluate, score and select on the tuned model as on the base, and pair the two item by item."""

    settings = DiffSettings
    section = NAME
    order = 8
    needs_whole_model = True
    needs = ("culture",)
    title = "Before and after tuning"
    titles: ClassVar = {
        "diff-tests": "Tuned - base, the same items",
        "diff-by-country": "Tuned - base by country (culture items)",
        "diff-suppression": "What suppressing the base's set costs each model (culture items)",
        "diff-sets": "The sets found on each model",
        "diff-moved": "Rows of the base's set against random rows",
        "diff-neurons": f"The {SHOWN} neurons whose score changed most",
    }

    def check(self, config: RunSettings) -> None:
        """Check that a tuned model is named and can be found."""
        tuned = config.section(DiffSettings).tuned
        if not tuned:
            raise UsageError("diff.tuned names no model; use `culnig diff BASE TUNED`, or set it")
        check_place(tuned)

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED, Condition(CULTURE_GENERAL, CULTURE_GENERAL, config.operation, ("culture",))]

    def measured(self, run: SavedRun) -> bool:
        return is_measured(run)

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        settings = run.config.section(DiffSettings)
        loading = run.config.model.model_dump(include={"dtype", "device", "trust_remote_code"})
        loading |= settings.model_dump(include={"revision", "merge_adapter"})
        measure_tuned(run, context, settings.tuned, loading, settings.random_sets)

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        _add_answers(section, run)
        _add_text(section, run)
        _add_suppression(section, run)
        add_neurons(section, run, SHOWN)
        section.claim = _claim(run, section)
        return section


STUDIES.register(NAME)(DiffStudy())


def _pair(run: SavedRun, label: str) -> tuple[EvalResult, EvalResult]:
    """The tuned model's result and the base's on a test set."""
    test = next(test for test in run.config.test if test.label == label)
    return EvalResult.load(result_path(run, test)), run.result_on(test, "none")


def _add_answers(section: Section, run: SavedRun) -> None:
    """Add the paired differences on every test set, by country, and a row for each item."""
    pairs = {test.label: _pair(run, test.label) for test in tests_of(run)}
    roles = {test.label: test.role for test in tests_of(run)}
    made = [(tuned, [base]) for tuned, base in pairs.values()]
    table = significance_table(made, correction=run.config.correction, seed=run.config.seed)
    table = table.drop(columns="test")
    table.insert(0, "test", list(pairs))
    table.insert(1, "role", [roles[label] for label in pairs])
    odds = [compare(tuned, base, "log_odds", seed=run.config.seed) for tuned, base in pairs.values()]
    table["log-odds change"] = [each.difference for each in odds]
    shown = table.rename(columns={"a": "tuned", "b": "base"}).drop(columns=["metric", "rows", "draws"])
    culture = run.config.tests_of("culture")[0].label
    items = pd.concat([_items(label, *pair) for label, pair in pairs.items()], ignore_index=True)
    countries = compare_by(*pairs[culture], "country", seed=run.config.seed)
    countries = countries.rename(columns={"a": "tuned", "b": "base"}).drop(columns=["metric", "rows", "draws"])
    section.tables |= {"diff-tests": shown, "diff-by-country": countries, "diff-items": items}
    section.numbers["tests"] = shown.to_dict("records")
    section.findings += [
        Finding(row["role"], f"{points(row['difference'])} points", f"{row['test']}: {interval(row)}; {p_equals(row)}")
        for row in shown.to_dict("records")
    ]
    section.figures.append(
        ("Change of accuracy from the base to the tuned model on the same items. Bars: 95 % intervals.", changes(shown))
    )
    section.text.append(
        "Both models get the same prompts, and answers are judged by the base model's offsets, so that only the model"
        " differs. Lost and gained count the questions that changed; the table diff-items names each."
    )


def _items(label: str, tuned: EvalResult, base: EvalResult) -> pd.DataFrame:
    """A row an item: right or wrong before and after, and the change of the right option's log-odds."""
    after = aligned(base, tuned).rows
    rows = base.rows[["id", "country", "topic", "wording"]].reset_index(drop=True)
    rows.insert(0, "test", label)
    for name, frame in (("base", base.rows), ("tuned", after)):
        rows[name] = frame["correct"].to_numpy(dtype=bool)
        rows[f"{name} log-odds"] = frame["log_odds"].to_numpy(dtype=float)
    rows["change"] = rows["tuned log-odds"] - rows["base log-odds"]
    return rows


def _add_text(section: Section, run: SavedRun) -> None:
    """Add the perplexity of both models on plain text, if the run reads one."""
    before, path = run.text("none"), path_of(run, "text.parquet")
    if before is None or not path.is_file():
        return
    c = compare_text(TextResult.load(path), before, seed=run.config.seed)
    section.numbers["plain_text"] = c.to_dict()
    ratio, low, high = (format_number(value, ".3f") for value in (c.ratio, c.low, c.high))
    section.findings.append(Finding("plain text", f"x {ratio}", f"perplexity ratio, {low} to {high}"))
    section.text.append(f"Perplexity on plain text goes from {c.b:.2f} to {c.a:.2f} (ratio {ratio}, {low} to {high}).")


def _add_suppression(section: Section, run: SavedRun) -> None:
    """Add what the base's set costs each model: does the tuned one still keep its culture there?"""
    test = run.config.tests_of("culture")[0]
    tuned, base = _pair(run, test.label)
    suppressed = EvalResult.load(result_path(run, test, CULTURE_GENERAL)), run.result_on(test, CULTURE_GENERAL)
    rows = []
    for model, before, after in (("base", base, suppressed[1]), ("tuned", tuned, suppressed[0])):
        c = compare(after, before, seed=run.config.seed).to_dict()
        rows.append({"model": model, "untouched": c["b"], "suppressed": c["a"]} | _kept(c))
    section.tables["diff-suppression"] = pd.DataFrame(rows)
    section.numbers["suppression"] = rows
    section.text.append(
        f"Suppressing the {len(run.neurons(CULTURE_GENERAL)):,} neurons of the base's set costs the base"
        f" {points(rows[0]['difference'])} points ({interval(rows[0])}) on culture items, and the tuned model"
        f" {points(rows[1]['difference'])} ({interval(rows[1])})."
    )


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("difference", "low", "high", "p", "p_floor", "questions")}


def changes(table: pd.DataFrame) -> go.Figure:
    """Dots with intervals: the change of accuracy on each test set."""
    figure = empty_figure(90 + 34 * len(table))
    for row in table.to_dict("records"):
        colour = ACCENT if row["role"] == "culture" else QUIET
        figure.add_scatter(
            x=[100 * row["difference"]],
            y=[f"{row['role']}: {row['test']}"],
            error_x=error_bars(row["difference"], row["low"], row["high"], unit=100, color=colour),
            marker={"size": 9, "color": colour},
            hovertemplate="%{y}: %{x:.1f} points<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": "#1f2430", "width": 1})
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure


def _claim(run: SavedRun, section: Section) -> str:
    tests = section.tables["diff-tests"]
    parts = []
    for role in ROLES:
        rows = tests[tests["role"] == role]
        if len(rows):
            row = rows.iloc[0]
            parts.append(f"{role} {points(row['difference'])} points ({interval(row)})")
    sets = section.numbers["sets"]
    tuned = section.numbers["tuned"]["model"]
    return (
        f"From {run.scores('neur').meta['model']} to {tuned}, accuracy changes by: {', '.join(parts)}."
        f" Of {sets['base']:,} neurons found on the base and {sets['tuned']:,} on the tuned model, {sets['shared']:,} are the"
        f" same (Jaccard {sets['jaccard']:.2f}; by chance {sets['chance']:.3f})."
    )
