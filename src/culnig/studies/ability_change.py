"""Why ability rises or falls under a suppression: the option prior, the length, or the right answer's own advantage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from culnig.evaluation import EvalResult, compare_by
from culnig.evaluation.comparing import aligned, question_of
from culnig.figures import ACCENT, QUIET, empty_figure, error_bars
from culnig.neurons import NeuronSet
from culnig.statistics.bootstrap import JOINT_RESAMPLES, percentile_interval
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL, culture_general_set

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

TERMS = ("prior", "length", "gold")
LABELS = {
    "prior": "weight of the prior",
    "length": "nats a character",
    "gold": "advantage of the right answer, nats",
    "entropy": "entropy over the options, nats",
}
"""What a condition does to the options of an item; see `Design`."""


class AbilityChangeStudy:
    """Explain the change of accuracy on ability items by what the suppression does to the options' log-probabilities.

    Within an item, an option's log-probability is put as a sum: its log-probability without the question (the prior), its
    length, whether it is right, and a rest.  Each condition has a coefficient of each.  The study then asks how accuracy
    would change if a single coefficient of the untouched model were replaced by that under the suppression.
    """

    order = 42
    needs = ("ability",)
    title = "Why ability changes"
    tab = "sure"
    titles: ClassVar = {
        "ability-change": "What the suppression does to the options of ability items",
        "ability-change-by-kind": "Change of accuracy by kind of item",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {CULTURE_GENERAL: culture_general_set(run)}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED, Condition(CULTURE_GENERAL, CULTURE_GENERAL, config.operation, ("ability",), everywhere=True)]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        tests = [test for test in run.config.tests_of("ability") if run.result_on(test, "none").has_offsets("pmi")]
        if not tests:
            section.text = ["No ability test set has offsets of pmi; run with prompts.calibration=pmi."]
            return section
        table = pd.DataFrame([row for test in tests for row in _rows(run, test)])
        section.tables = {
            "ability-change": table,
            "ability-change-by-kind": pd.concat([_by_kind(run, test) for test in tests], ignore_index=True),
        }
        section.numbers = {"changes": table.to_dict("records")}
        section.text = [
            "Within an item, an option's log-probability is put as a sum of its log-probability without the question, its"
            " length, and whether it is right. `if alone` is the change of accuracy, by summed log-probability, that one"
            " coefficient of the suppressed model gives to the untouched one.",
            *(_said(table, test.label) for test in tests),
        ]
        section.figures = [
            (
                "Change of accuracy on ability items if a single coefficient changed as it does under the suppression; grey:"
                " under the random sets. Bars: 95 % intervals.",
                counterfactuals(table),
            )
        ]
        return section


STUDIES.register("ability_change")(AbilityChangeStudy())


class Design(NamedTuple):
    """A test set's options, put together from the untouched model's rows; items keep their order.

    Attributes:
        terms: [items, options, 3], prior, length and right or not, each minus its mean over the item's options.
        gold: [items], index of the right option.
        real: [items, options], False where an item has fewer options.
        questions: [items], number of each item's question.
    """

    terms: np.ndarray
    gold: np.ndarray
    real: np.ndarray
    questions: np.ndarray


def design(untouched: EvalResult) -> Design:
    """Return what explains the log-probabilities of a test set's options."""
    rows = untouched.rows
    gold = rows["gold"].to_numpy()
    width = int(max(map(len, rows["option_logprobs"])))
    real = np.array([np.arange(width) < len(options) for options in rows["option_logprobs"]])
    right = np.arange(width)[None, :] == gold[:, None]
    columns = [_padded(rows["pmi_offsets"], width), _padded(rows["option_lengths"], width), right.astype(float)]
    terms = np.stack([_centred(column, real) for column in columns], axis=-1)
    return Design(terms, gold, real, pd.factorize(question_of(rows))[0])


def _padded(values: pd.Series, width: int) -> np.ndarray:
    return np.array([[*each, *[0.0] * (width - len(each))] for each in values], dtype=float)


def _centred(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    mean = (values * real).sum(axis=1, keepdims=True) / real.sum(axis=1, keepdims=True)
    return np.where(real, values - mean, 0.0)


class Fit(NamedTuple):
    """One condition.

    Attributes:
        logprobs: [items, options], centred.
        coefficients: [resamples + 1, 3]; the first is of all items, the others of resampled questions.
        accuracy: [resamples + 1], by summed log-probability.
        entropy: [resamples + 1], mean entropy of the softmax over the options, nats.
    """

    logprobs: np.ndarray
    coefficients: np.ndarray
    accuracy: np.ndarray
    entropy: np.ndarray


def fit(made: Design, result: EvalResult, weights: np.ndarray) -> Fit:
    """Least squares of the options' log-probabilities on the design, for every resampling of the questions.

    Args:
        made: the design.
        result: the condition, in the design's order.
        weights: [resamples + 1, items], how often each item is taken.
    """
    raw = _padded(result.rows["option_logprobs"], made.real.shape[1])
    logprobs = _centred(raw, made.real)
    squares = np.einsum("nok,nol->nkl", made.terms, made.terms).reshape(len(raw), -1)
    products = np.einsum("nok,no->nk", made.terms, logprobs)
    k = len(TERMS)
    normal = (weights @ squares).reshape(-1, k, k)
    coefficients = np.linalg.solve(normal + 1e-9 * np.eye(k), (weights @ products)[..., None])[..., 0]
    masked = np.where(made.real, raw, -np.inf)
    odds = masked - np.logaddexp.reduce(masked, axis=1, keepdims=True)
    entropy = -np.where(made.real, np.exp(odds) * np.where(made.real, odds, 0.0), 0.0).sum(axis=1)
    return Fit(logprobs, coefficients, _mean(_right(logprobs, made), weights), _mean(entropy, weights))


def _right(logprobs: np.ndarray, made: Design) -> np.ndarray:
    return (np.where(made.real, logprobs, -np.inf).argmax(axis=1) == made.gold).astype(float)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ values) / weights.sum(axis=1)


def if_alone(made: Design, before: Fit, after: Fit, term: str, weights: np.ndarray) -> np.ndarray:
    """Change of accuracy, [resamples + 1], if one coefficient of the untouched model became that of the suppressed one."""
    number = TERMS.index(term)
    step = after.coefficients[0, number] - before.coefficients[0, number]
    moved = before.logprobs + step * made.terms[..., number]
    return _mean(_right(moved, made), weights) - before.accuracy


def _weights(questions: np.ndarray, seed: int) -> np.ndarray:
    """[resamples + 1, items]: all items once, then resampled questions."""
    number = int(questions.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=JOINT_RESAMPLES)
    return np.concatenate([np.ones((1, number)), drawn])[:, questions].astype(float)


def _rows(run: SavedRun, test: TestConfig) -> Iterator[dict[str, object]]:
    untouched = run.result_on(test, "none")
    made = design(untouched)
    weights = _weights(made.questions, run.config.seed)
    before = fit(made, untouched, weights)
    random = [name for name in run.set_names("random-") if run.result_path(test, name).is_file()]
    for label, names in ((CULTURE_GENERAL, [CULTURE_GENERAL]), ("random sets (mean)", random)):
        if not names:
            continue
        fits = [fit(made, aligned(untouched, run.result_on(test, name)), weights) for name in names]
        yield from _changes({"test": test.label, "condition": label}, made, before, fits, weights)


def _changes(
    where: dict[str, object], made: Design, before: Fit, fits: Sequence[Fit], weights: np.ndarray
) -> Iterator[dict[str, object]]:
    """A row for accuracy, entropy and each coefficient: its value before and after, and the change of accuracy if alone."""

    def row(what: str, old: np.ndarray, new: np.ndarray, alone: np.ndarray | None) -> dict[str, object]:
        low, high = percentile_interval((new - old)[1:])
        found = where | {"what": what, "untouched": old[0], "suppressed": new[0], "change": new[0] - old[0]}
        found |= {"low": low, "high": high}
        if alone is not None:
            ends = percentile_interval(alone[1:])
            found |= {"if alone": alone[0], "if alone low": ends[0], "if alone high": ends[1]}
        return found

    yield row("accuracy by the sum", before.accuracy, np.mean([f.accuracy for f in fits], axis=0), None)
    yield row(LABELS["entropy"], before.entropy, np.mean([f.entropy for f in fits], axis=0), None)
    for number, term in enumerate(TERMS):
        new = np.mean([f.coefficients[:, number] for f in fits], axis=0)
        alone = np.mean([if_alone(made, before, f, term, weights) for f in fits], axis=0)
        yield row(LABELS[term], before.coefficients[:, number], new, alone)


def _by_kind(run: SavedRun, test: TestConfig) -> pd.DataFrame:
    """Change of accuracy by kind of item, under the run's calibration, beside the mean of the random sets."""
    untouched = run.result_on(test, "none")
    table = compare_by(run.result_on(test, CULTURE_GENERAL), untouched, "topic", seed=run.config.seed)
    names = [name for name in run.set_names("random-") if run.result_path(test, name).is_file()]
    if names:
        kinds = untouched.rows["topic"].to_numpy()
        after = np.mean([aligned(untouched, run.result_on(test, n)).values("correct") for n in names], axis=0)
        change = pd.Series(after - untouched.values("correct")).groupby(kinds).mean()
        table["change (random)"] = table["topic"].map(change)
    table.insert(0, "test", test.label)
    return table


def _said(table: pd.DataFrame, test: str) -> str:
    """The answer for one test set, in words."""
    part = table[table["test"] == test]
    own = part[part["condition"] == CULTURE_GENERAL].set_index("what")
    accuracy = own.loc["accuracy by the sum"]
    text = (
        f"{test}: by the sum, accuracy changes by {100 * accuracy['change']:+.1f} points"
        f" ({100 * accuracy['low']:+.1f} to {100 * accuracy['high']:+.1f})."
    )
    for term in TERMS:
        row = own.loc[LABELS[term]]
        text += (
            f" The {LABELS[term]} goes from {row['untouched']:.2f} to {row['suppressed']:.2f}; alone it would give"
            f" {100 * row['if alone']:+.1f} points ({100 * row['if alone low']:+.1f} to {100 * row['if alone high']:+.1f})."
        )
    return text


def counterfactuals(table: pd.DataFrame) -> go.Figure:
    """Dots with intervals: the change of accuracy that each coefficient alone would give, a band for each test set."""
    part = table.dropna(subset=["if alone"])
    figure = empty_figure(90 + 26 * len(part))
    for _, row in part.iterrows():
        own = row["condition"] == CULTURE_GENERAL
        value, low, high = row["if alone"], row["if alone low"], row["if alone high"]
        colour = ACCENT if own else QUIET
        figure.add_scatter(
            x=[100 * value],
            y=[f"{row['test']}: {row['what'].split(',')[0]}{'' if own else ' (random)'}"],
            error_x=error_bars(value, low, high, unit=100, color=colour),
            marker={"size": 9 if own else 7, "color": colour},
            hovertemplate="%{y}: %{x:.1f} points<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": "#1f2430", "width": 1})
    figure.update_xaxes(title="change of accuracy, points")
    figure.update_yaxes(autorange="reversed")
    return figure
