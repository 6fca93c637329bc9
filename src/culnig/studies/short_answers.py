"""Short answers across languages: does suppressing the culture-general neurons cost answers that the model writes itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pydantic import Field

from culnig.evaluation import AnswerResult, Comparison, compare, compare_by
from culnig.evaluation.comparing import aligned
from culnig.evaluation.short_answers import NEW_TOKENS, Decoding, Read
from culnig.figures import (
    ACCENT,
    INK,
    QUIET,
    empty_figure,
    error_bars,
)
from culnig.formatting import interval, points
from culnig.neurons import NeuronSet
from culnig.settings import Settings
from culnig.statistics.tests import adjust
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL
from culnig.studies.culture_general import CultureGeneralStudy, random_names

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

ROLE = "short"
RANDOM = 2
"""Random controls that write answers; writing takes far longer than choosing."""
FLOOR = 0.02
"""Below this share of right answers there is nothing to lose."""


class ShortAnswersSettings(Settings):
    """How the model writes its answers."""

    max_new_tokens: int = Field(NEW_TOKENS, ge=1, description="length of an answer at most")
    read: Read = Field(
        "line", description="line: an answer ends with its first line; all: everything is looked through"
    )
    decoding: Decoding = Field("greedy", description="greedy; model: as the model's generation config says")


class ShortAnswersStudy:
    """The untouched model, the culture-general set and random sets of the same modules and layers, by language."""

    settings = ShortAnswersSettings
    section = "short_answers"
    order = 60
    needs = (ROLE,)
    title = "Short answers across languages"
    titles: ClassVar = {
        "short-by-language": "Short answers by language",
        "short-changes": "Short answers: paired changes by language",
        "short-examples": "Short answers before and after, as texts",
        "short-matchers": "Short answers: what finds the words of each language",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {} if "culture_general" in run.config.studies else CultureGeneralStudy().select(run)

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = [CULTURE_GENERAL, *_controls(config)]
        return [
            Condition(UNTOUCHED.name, None, "", (ROLE,), main=True),
            *(Condition(name, name, config.operation, (ROLE,), main=name == CULTURE_GENERAL) for name in names),
        ]

    def analyse(self, run: SavedRun) -> Section:
        results = {name: _answers(run, name) for name in ("none", CULTURE_GENERAL, *_controls(run.config))}
        section = Section(self.title, titles=self.titles)
        scores = _scores(results)
        changes = _changes(results, run.config.correction)
        section.tables = {"short-by-language": scores, "short-changes": changes, "short-matchers": _matchers(results)}
        section.tables["short-examples"] = examples(results)
        section.figures = [
            (
                "Right answers by language, with 95 % intervals: untouched (black), culture-general set"
                f" under {run.config.done.noun} (red), random sets (grey).",
                right_by_language(scores),
            )
        ]
        total = compare(results[CULTURE_GENERAL], results["none"])
        versus = compare(results[CULTURE_GENERAL], [results[name] for name in _controls(run.config)])
        section.numbers = {"culture_general": total.to_dict(), "against_random": versus.to_dict()}
        section.text = [_text(results["none"], scores)]
        section.claim = _claim(total, versus)
        section.findings = [Finding("short answers", f"{points(total.difference)} points", interval(total))]
        return section


STUDIES.register("short_answers")(ShortAnswersStudy())


def _controls(config: RunSettings) -> list[str]:
    return random_names(config)[:RANDOM]


def _answers(run: SavedRun, condition: str) -> AnswerResult:
    test = run.config.test_of(ROLE)
    assert test is not None
    return AnswerResult.load(run.result_path(test, condition))


def _scores(results: dict[str, AnswerResult]) -> pd.DataFrame:
    """A row a condition and language."""
    parts = [result.by_language().assign(condition=name) for name, result in results.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[["condition", *table.columns.drop(["condition", "matcher"])]]


def _changes(results: dict[str, AnswerResult], correction: str) -> pd.DataFrame:
    """Paired changes by language, p-values corrected over the languages of a pair."""
    controls = [result for name, result in results.items() if name not in ("none", CULTURE_GENERAL)]
    parts = []
    for pair, other in (("culture-general - none", [results["none"]]), ("culture-general - random", controls)):
        table = compare_by(results[CULTURE_GENERAL], other, "language")
        table.insert(0, "pair", pair)
        table["p_adjusted"] = adjust(table["p"].to_numpy(dtype=float), correction)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def examples(results: dict[str, AnswerResult], each: int = 3) -> pd.DataFrame:
    """Answers as texts: what the untouched model, the suppressed one and the first random set wrote to the same questions.

    Args:
        results: condition -> its answers; "none" and the culture-general set among them.
        each: so many lost, gained and otherwise changed answers of each language, the first in the order of the items.
    """
    names = ["none", CULTURE_GENERAL, *[name for name in results if name not in ("none", CULTURE_GENERAL)][:1]]
    rows = {name: aligned(results["none"], results[name]).rows for name in names}
    first, second = rows["none"], rows[CULTURE_GENERAL]
    change = np.select(
        [first["correct"] & ~second["correct"], ~first["correct"] & second["correct"], first["text"] != second["text"]],
        ["lost", "gained", "other words"],
        "same",
    )
    table = pd.DataFrame(
        {"language": first["language"], "country": first["country"], "id": first["id"], "change": change}
    )
    table["accepted"] = [", ".join(list(accepted)[:3]) for accepted in first["accepted"]]
    table = table.assign(
        **{{"none": "untouched"}.get(name, name): frame["text"].to_numpy() for name, frame in rows.items()}
    )
    chosen = table[table["change"] != "same"].groupby(["language", "change"], sort=True).head(each)
    return chosen.sort_values(["language", "change"], kind="stable").reset_index(drop=True)


def _matchers(results: dict[str, AnswerResult]) -> pd.DataFrame:
    matchers: dict[str, Any] = results["none"].meta["matchers"]
    return pd.DataFrame([{"language": language, **how} for language, how in matchers.items()])


def _text(untouched: AnswerResult, scores: pd.DataFrame) -> str:
    low = scores[(scores["condition"] == "none") & (scores["accuracy"] < FLOOR)]["language"]
    floor = (
        f" In {', '.join(low)} the untouched model is right less than {FLOOR:.0%} of the time: no loss can be seen there."
        if len(low)
        else ""
    )
    what = "up to its end" if untouched.meta.get("read") == "all" else "one line"
    how = "as its generation config says" if untouched.meta.get("decoding") == "model" else "greedily"
    return (
        f"The model writes {what}, {how}; it is right if this holds, as whole words or their lemmas, an answer that"
        f" somebody gave. {len(untouched):,} rows, at most {untouched.meta['max_new_tokens']} tokens each. Languages without"
        f" a library are compared as written, which misses inflected forms: scores of languages are not comparable.{floor}"
    )


def _claim(total: Comparison, versus: Comparison) -> str:
    return (
        f"Short answers written by the model: {total.b:.1%} right untouched, {total.a:.1%} with the culture-general set"
        f" ({points(total.difference)} points, 95 % interval {interval(total)}), {versus.b:.1%} with random sets."
    )


COLOURS = {"none": INK, CULTURE_GENERAL: ACCENT}


def right_by_language(table: pd.DataFrame) -> go.Figure:
    """Dots with intervals, a band a language.

    Args:
        table: columns condition, language, accuracy, low, high (shares).
    """
    conditions = list(dict.fromkeys(table["condition"]))
    languages = list(dict.fromkeys(table["language"]))
    figure = empty_figure(90 + 16 * len(languages) * len(conditions))
    for c, condition in enumerate(conditions):
        part = table[table["condition"] == condition]
        colour = COLOURS.get(condition, QUIET)
        figure.add_scatter(
            x=100 * part["accuracy"],
            y=[
                languages.index(name) + (c - (len(conditions) - 1) / 2) * 0.8 / len(conditions)
                for name in part["language"]
            ],
            mode="markers",
            error_x=error_bars(part["accuracy"], part["low"], part["high"], unit=100, color=colour),
            marker={"size": 8, "color": colour},
            customdata=part["language"],
            hovertemplate=f"%{{customdata}}, {condition}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(languages))), ticktext=languages, range=[len(languages) - 0.5, -0.5], showgrid=False
    )
    figure.update_xaxes(title="right answers, %", ticksuffix=" %", rangemode="tozero")
    return figure
