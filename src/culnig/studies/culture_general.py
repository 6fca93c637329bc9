"""Culture-general neurons: does suppressing them cost culture, and culture alone?  (the paper's main experiment)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from culnig import figures
from culnig.evaluation import EvalResult, compare, estimate, mcnemar, power_table, significance_table
from culnig.evaluation.results import SCALE_METRIC
from culnig.formatting import at_floor, format_p, interval, p_equals, points
from culnig.neurons import NeuronSet, number_of_neurons
from culnig.selection import select_random
from culnig.statistics.tests import adjust
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, Finding, Section
from culnig.studies._cards import base_cards, best_neurons, scores_by_country
from culnig.studies._culture_general_set import CULTURE_GENERAL, select_culture_general
from culnig.studies._culture_general_text import told
from culnig.studies._facts import add_facts
from culnig.studies._guards import add_guards, against_draws, guard_finding, guard_sentence
from culnig.studies._tile_map import tile_map

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

NAME = CULTURE_GENERAL
ROLES = ("culture", "ability", "facts", "surface")
METRICS = ("correct", "p_gold", "log_odds")
PLACES = {
    "matched": "the same modules and layers",
    "uniform": "the same pools",
    "pool": "the whole pools, the set's own included",
    "whole": "one pool of gates, queries, keys and values",
}
"""Kind of random set -> where it is drawn from."""
CONTRAST = "contrast_margin"
"""Compared where every row has the offsets for it."""


class CultureGeneralStudy:
    """Suppress the culture-general set, and as many random neurons."""

    order = 10
    needs = ("culture",)
    title = "Culture-general neurons"
    places: ClassVar = {
        "guard-verdicts": "sure",
        "guards-against-random": "sure",
        "differences": "sure",
        "power": "sure",
        "culture-general-by-country": "countries",
        "top-neurons": "neurons",
    }
    titles: ClassVar = {
        "accuracy": "Accuracy by condition",
        "guard-verdicts": "Guards: does the model still work?",
        "guards-against-random": "Guards: the set against the random sets",
        "differences": "Paired differences",
        "facts": "Culture against facts that began alike",
        "power": "What drop the test sets can show (80 % power, two-sided, level 0.05)",
        "culture-general-by-country": "Culture items by country",
        "culture-general-by-topic": "Culture items by topic",
        "top-neurons": "Top neurons",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        chosen = select_culture_general(run)
        shapes = run.scores("neur").shapes()
        sets = {NAME: chosen}
        for i, name in enumerate(random_names(run.config)):
            sets[name] = select_random(chosen, shapes, how=run.config.random_kind, seed=run.config.seed + i)
        for i, name in enumerate(matched_names(run.config)):
            sets[name] = select_random(chosen, shapes, how="matched", seed=run.config.seed + i)
        return sets

    def conditions(self, run: SavedRun) -> list[Condition]:
        return self.planned(run.config, [])

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        operation = config.operation
        random = [
            Condition(name, name, operation, ("culture", "ability", "facts"), everywhere=True)
            for name in random_names(config)
        ]
        matched = [Condition(name, name, operation, ("culture", "ability")) for name in matched_names(config)]
        return [UNTOUCHED, Condition(NAME, NAME, operation, ROLES, main=True, everywhere=True), *random, *matched]

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        accuracies = _accuracy_table(run)
        differences = _difference_table(run)
        neurons = run.neurons(NAME)
        section.tables = {
            "accuracy": accuracies,
            "differences": differences,
            "power": _power_table(run),
            "culture-general-by-country": _by(run, "country"),
            "culture-general-by-topic": _by(run, "topic"),
            "top-neurons": top_neurons(run),
        }
        section.numbers = _numbers(run, differences)
        section.claim, section.findings = _claim(run, section.numbers)
        shapes = run.scores("neur").shapes()
        section.figures = [
            (
                f"Accuracy by condition, with 95 % intervals. Grey: random neurons of {PLACES[run.config.random_kind]}.",
                figures.accuracy_by_condition(accuracies),
            ),
            (
                "Where the selected neurons sit: number in each module of each layer.",
                figures.on_tab(figures.layer_map(neurons.counts(), shapes), "where"),
            ),
            (
                f"Change of accuracy on culture items under {run.config.done.noun}, in points: a square a country or region."
                " A frame marks a 95 % interval without 0. Choose a square to read its questions.",
                tile_map(section.tables["culture-general-by-country"]),
            ),
            (
                f"Change of accuracy on culture items under {run.config.done.noun}, by country, with 95 % intervals.",
                figures.on_tab(figures.change_by(section.tables["culture-general-by-country"], "country"), "countries"),
            ),
        ]
        section.text, section.cards = told(run), base_cards(run)
        add_facts(section, run, NAME, random_names(run.config))
        names = random_names(run.config)
        guarded = add_guards(section, run, [NAME, *names])
        found, versus = guarded.pop(NAME), against_draws(run, NAME, names)
        section.tables["guards-against-random"] = pd.DataFrame([guard.to_dict() for guard in versus])
        section.numbers["guards_against_random"] = {
            "draws": len(names),
            "guards": [guard.to_dict() for guard in versus],
        }
        section.claim += " " + guard_sentence(found, list(guarded.values()), versus)
        section.findings.append(guard_finding(found))
        return section


STUDIES.register("culture_general")(CultureGeneralStudy())


def random_names(config: RunSettings) -> list[str]:
    """Names of the random controls."""
    return [f"random-{i}" for i in range(config.random_controls)]


def matched_names(config: RunSettings) -> list[str]:
    """Names of the matched random controls besides."""
    return [f"matched-{i}" for i in range(config.matched_controls)]


def _controls(run: SavedRun, test: TestConfig, names: list[str] | None = None) -> list[str]:
    """The random controls that were evaluated on a test set (on country reading, as guards)."""
    names = random_names(run.config) if names is None else names
    return [name for name in names if run.result_path(test, name).is_file()]


def _result(run: SavedRun, role: str, condition: str) -> EvalResult:
    result = run.result(role, condition)
    assert result is not None
    return result


def _tests(run: SavedRun) -> list[TestConfig]:
    """All test sets, by role."""
    return [test for role in ROLES for test in run.config.tests_of(role)]


def _accuracy_table(run: SavedRun) -> pd.DataFrame:
    rows = []
    for test in _tests(run):
        for name in ["none", NAME, *_controls(run, test), *_controls(run, test, matched_names(run.config))]:
            result = run.result_on(test, name)
            e = estimate(result)
            rows.append(
                {
                    "role": test.role,
                    "test": test.label,
                    "condition": name,
                    "accuracy": e.value,
                    "low": e.low,
                    "high": e.high,
                    "p_gold": result.rows["p_gold"].mean(),
                    "log_odds": result.rows["log_odds"].mean(),
                    "questions": e.questions,
                    "rows": e.rows,
                }
            )
    return pd.DataFrame(rows)


def _difference_table(run: SavedRun) -> pd.DataFrame:
    """Paired differences: suppressed against untouched, against the random controls, and the controls' own drop.

    p-values are corrected over the test sets, within a pair and metric.
    """
    rows = []
    for test in _tests(run):
        untouched, masked = run.result_on(test, "none"), run.result_on(test, NAME)
        pairs: list[tuple[str, Any, Any]] = [("culture-general - none", masked, untouched)]
        if names := _controls(run, test):
            controls = [run.result_on(test, name) for name in names]
            pairs.append(("culture-general - random", masked, controls))
            pairs += [(f"{name} - none", c, untouched) for name, c in zip(names, controls, strict=True)]
        if matched := _controls(run, test, matched_names(run.config)):
            pairs.append(("culture-general - matched", masked, [run.result_on(test, name) for name in matched]))
        for name, a, b in pairs:
            metrics = _metrics(masked) if name.startswith("culture-general") else METRICS[:1]
            where = {"role": test.role, "test": test.label, "pair": name}
            rows += [where | compare(a, b, metric).to_dict() for metric in metrics]
            if isinstance(b, EvalResult):
                rows[-len(metrics)] |= {"p_mcnemar": mcnemar(a, b).p}
    table = pd.DataFrame(rows)
    families = table.groupby(["pair", "metric"])
    for column in ("p", "p_mcnemar"):
        corrected = families[column].transform(lambda p: adjust(p, run.config.correction))
        table.insert(table.columns.get_loc(column) + 1, f"{column}_adjusted", corrected)
    return table


def _metrics(result: EvalResult) -> tuple[str, ...]:
    """What is compared on a test set: the contrast margin too where the offsets were measured, and alignment on a scale."""
    scale = (SCALE_METRIC,) if SCALE_METRIC in result.rows else ()
    return (*METRICS, *((CONTRAST,) if result.has_offsets("contrast") else ()), *scale)


def _power_table(run: SavedRun) -> pd.DataFrame:
    """What drop each test set can show, and how many questions smaller ones would take, at the observed discordance."""
    tests = _tests(run)
    table = power_table([(run.result_on(test, NAME), [run.result_on(test, "none")]) for test in tests])
    table["test"] = [test.label for test in tests]  # several may be of one benchmark
    return table


def _by(run: SavedRun, column: str) -> pd.DataFrame:
    """Change within each country or topic, against the untouched model and against the random controls.

    p-values are corrected over the countries (topics).
    """
    masked = _result(run, "culture", NAME)
    correction = run.config.correction
    untouched = _result(run, "culture", "none")
    table = significance_table([(masked, [untouched])], by=column, correction=correction).drop(columns="test")
    controls = [_result(run, "culture", name) for name in random_names(run.config)]
    random = significance_table([(masked, controls)], by=column, correction=correction)
    against = random[["difference", "low", "high", "p", "p_adjusted", "p_floor", "draws"]].add_suffix(" (random)")
    joined = pd.concat([table, against], axis=1)
    if "pmi_offsets" in untouched.rows:
        prior = pd.Series(untouched.values("prior_correct")).groupby(untouched.rows[column].to_numpy()).mean()
        joined.insert(list(joined).index("b") + 1, "prior alone", joined[column].map(prior))
    return joined


def _numbers(run: SavedRun, differences: pd.DataFrame) -> dict[str, Any]:
    total = number_of_neurons(run.scores("neur").shapes())
    correct = differences[differences["metric"] == "correct"].set_index(["test", "pair"])
    keep = ["a", "b", "difference", "low", "high", "p", "p_adjusted", "p_floor", "draws"]

    def pick(test: TestConfig, pair: str) -> dict[str, float] | None:
        return correct.loc[(test.label, pair), keep].to_dict() if (test.label, pair) in correct.index else None

    def drops(test: TestConfig) -> list[float]:
        return [float(correct.loc[(test.label, f"{name} - none"), "difference"]) for name in _controls(run, test)]

    first = {role: test for role in ROLES if (test := run.config.test_of(role))}
    random = {role: drops(test) for role, test in first.items() if drops(test)}
    return {
        "neurons": len(run.neurons(NAME)),
        "neurons_in_model": total,
        "share": len(run.neurons(NAME)) / total,
        "drop": {role: pick(test, "culture-general - none") for role, test in first.items()},
        "against_random": {role: pick(first[role], "culture-general - random") for role in random},
        "random_drops": random,
        "tests": {
            test.label: {
                "role": test.role,
                "drop": pick(test, "culture-general - none"),
                "against_random": pick(test, "culture-general - random"),
                "random_drops": drops(test),
            }
            for test in _tests(run)
        },
    }


def _p(row: dict[str, float]) -> str:
    adjusted = format_p(row["p_adjusted"], at_most=at_floor(row))
    return f"{p_equals(row)} (adjusted {adjusted})"


def _claim(run: SavedRun, numbers: dict[str, Any]) -> tuple[str, list[Finding]]:
    drop, versus = numbers["drop"]["culture"], numbers["against_random"]["culture"]
    general = numbers["drop"].get("ability")
    random = numbers["random_drops"]["culture"]
    what = (
        f"{numbers['neurons']:,} of {numbers['neurons_in_model']:,} neurons ({numbers['share']:.2%}) of"
        f" {run.scores('neur').meta['model']}"
    )
    claim = (
        f"{run.config.done.doing(what)} changes its accuracy on questions about culture ({run.config.tests_of('culture')[0].label})"
        f" from {drop['b']:.1%} to {drop['a']:.1%} ({points(drop['difference'])} points, 95 % interval {interval(drop)});"
        f" {len(random)} random sets of {PLACES[run.config.random_kind]} change it by"
        f" {points(min(random))} to {points(max(random))} points."
    )
    findings = [
        Finding("culture", f"{points(drop['difference'])} points", f"{interval(drop)}; {_p(drop)}"),
        Finding(
            "against random",
            f"{points(versus['difference'])} points",
            f"{interval(versus)}; {_p(versus)}; {len(random)} draws",
        ),
    ]
    if general:
        claim += (
            f" Ability goes from {general['b']:.1%} to {general['a']:.1%}"
            f" ({points(general['difference'])} points, {interval(general)})."
        )
        findings.append(
            Finding(
                "ability",
                f"{points(general['difference'])} points",
                f"{interval(general)}; {_p(general)}",
            )
        )
    if surface := numbers["drop"].get("surface"):
        findings.append(Finding("country reading", f"{points(surface['difference'])} points", interval(surface)))
    return claim, findings


def top_neurons(run: SavedRun, count: int = 25) -> pd.DataFrame:
    """The best neurons with their score and the countries in which they score highest."""
    neur, ctrl = run.scores("neur"), run.scores("ctrl")
    rows = []
    for rank, (neuron, score) in enumerate(best_neurons(run, count), start=1):
        per_country = scores_by_country(neur, ctrl, neuron)
        best = per_country.argsort()[::-1][:3]
        rows.append(
            {
                "rank": rank,
                "module": neuron.module,
                "layer": neuron.layer,
                "neuron": neuron.index,
                "score": score,
                "countries above 0": f"{int((per_country > 0).sum())} of {len(per_country)}",
                "highest in": ", ".join(neur.groups[i] for i in best),
            }
        )
    return pd.DataFrame(rows)
