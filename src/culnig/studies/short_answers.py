"""Short answers across languages: does suppressing the culture-general neurons cost answers that the model writes itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from culnig.evaluation import AnswerResult, Comparison, compare, compare_by
from culnig.neurons import NeuronSet
from culnig.statistics.tests import adjust
from culnig.studies._answer_figures import right_by_language
from culnig.studies.base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies.general import NAME as GENERAL
from culnig.studies.general import GeneralStudy, random_names

if TYPE_CHECKING:
    from culnig.studies.saved import SavedRun
    from culnig.studies.settings import RunSettings

ROLE = "short"
RANDOM = 2
"""Random controls that write answers; writing takes far longer than choosing."""
FLOOR = 0.02
"""Below this share of right answers there is nothing to lose."""


class ShortAnswersStudy:
    """The untouched model, the culture-general set and random sets of the same modules and layers, by language."""

    order = 60
    needs = (ROLE,)
    title = "Short answers across languages"

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {} if GENERAL in run.config.studies else GeneralStudy().select(run)

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        names = [GENERAL, *_controls(config)]
        return [
            Condition(UNTOUCHED.name, None, "", (ROLE,), main=True),
            *(Condition(name, name, config.operation, (ROLE,), main=name == GENERAL) for name in names),
        ]

    def analyse(self, run: SavedRun) -> Section:
        results = {name: _answers(run, name) for name in ("none", GENERAL, *_controls(run.config))}
        section = Section(self.title)
        scores = _scores(results)
        changes = _changes(results, run.config.correction)
        section.tables = {"short-by-language": scores, "short-changes": changes, "short-matchers": _matchers(results)}
        section.figures = [
            (
                "Right answers by language, with 95 % intervals: untouched (black), culture-general set"
                f" {run.config.operation} (red), random sets (grey).",
                right_by_language(scores),
            )
        ]
        total = compare(results[GENERAL], results["none"])
        versus = compare(results[GENERAL], [results[name] for name in _controls(run.config)])
        section.numbers = {"general": total.to_dict(), "against_random": versus.to_dict()}
        section.text = [_text(results["none"], scores)]
        section.claim = _claim(total, versus)
        section.findings = [Finding("short answers", f"{_points(total)} points", _interval(total))]
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
    controls = [result for name, result in results.items() if name not in ("none", GENERAL)]
    parts = []
    for pair, other in (("general - none", [results["none"]]), ("general - random", controls)):
        table = compare_by(results[GENERAL], other, "language")
        table.insert(0, "pair", pair)
        table["p_adjusted"] = adjust(table["p"].to_numpy(dtype=float), correction)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


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
    return (
        "The model writes one line, greedily; it is right if the line holds, as whole words or their lemmas, an answer that"
        f" somebody gave. {len(untouched):,} rows, at most {untouched.meta['max_new_tokens']} tokens each. Languages without"
        f" a library are compared as written, which misses inflected forms: scores of languages are not comparable.{floor}"
    )


def _claim(total: Comparison, versus: Comparison) -> str:
    return (
        f"Short answers written by the model: {total.b:.1%} right untouched, {total.a:.1%} with the culture-general set"
        f" ({_points(total)} points, 95 % interval {_interval(total)}), {versus.b:.1%} with random sets."
    )


def _points(c: Comparison) -> str:
    return f"{100 * c.difference:+.1f}".replace("-", "−")


def _interval(c: Comparison) -> str:
    return f"{100 * c.low:+.1f} to {100 * c.high:+.1f}".replace("-", "−")
