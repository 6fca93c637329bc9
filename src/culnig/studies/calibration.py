"""Calibration: what each way of taking off the option prior says of accuracy, margins and drops, on the same saved rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import plotly.graph_objects as go

from culnig import distributed
from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, estimate
from culnig.evaluation.judging import kept
from culnig.figures import PALETTE, empty_figure, legend_below
from culnig.neurons import NeuronSet
from culnig.prompts.calibration import CALIBRATIONS, Calibration
from culnig.sealed import load_table, save_rows
from culnig.studies._base import STUDIES, UNTOUCHED, Condition, MeasurementContext, Section
from culnig.studies._culture_general_set import CULTURE_GENERAL

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings, TestConfig

NAME = "calibration"
ROLES = ("culture", "ability", "facts", "surface")


class CalibrationStudy:
    """Measure all offsets of every test set once, and judge every saved row under every calibration.

    It needs no new evaluation, so it can be added to a run of an earlier version.
    """

    order = 15
    needs = ("culture",)
    title = "Calibration"
    tab = "sure"
    titles: ClassVar = {
        "calibration-accuracy": "Untouched model by calibration",
        "calibration-countries": "Untouched model by country and calibration",
        "calibration-changes": "Changes by calibration",
    }

    def select(self, run: SavedRun) -> dict[str, NeuronSet]:
        return {}

    def conditions(self, run: SavedRun) -> list[Condition]:
        return [UNTOUCHED]

    def planned(self, config: RunSettings, countries: list[str]) -> list[Condition]:
        return [UNTOUCHED]

    def measured(self, run: SavedRun) -> bool:
        return all(_path(run, test).is_file() for test in _tests(run))

    def measure(self, run: SavedRun, context: MeasurementContext) -> None:
        from culnig.passes.calibration import offsets_of
        from culnig.prompts import encode, render

        for test in _tests(run):
            if _path(run, test).is_file():
                continue
            policy, lm = context.policy, context.lm
            encoded = encode(render(context.items(test), policy), lm.tokenizer, policy, lm.max_length)
            with context.reporter.step(f"offsets of {test.label}", len(encoded), "prompts") as progress:
                kinds: tuple[Calibration, ...] = ("pmi", "contrast")
                budget = context.token_budget
                offsets = offsets_of(lm, encoded, policy, kinds=kinds, token_budget=budget, progress=progress)
            rows = [
                {"benchmark": e.item.benchmark, "id": e.item.id, "wording": e.wording} | kept(each)
                for e, each in zip(encoded, offsets, strict=True)
            ]
            if distributed.is_main():
                save_rows(_path(run, test), pd.DataFrame(rows))

    def analyse(self, run: SavedRun) -> Section:
        section = Section(self.title, titles=self.titles)
        accuracy = pd.DataFrame(_accuracies(run))
        countries = pd.DataFrame(_countries(run))
        section.tables = {"calibration-accuracy": accuracy, "calibration-countries": countries}
        if rows := list(_changes(run)):
            section.tables["calibration-changes"] = pd.DataFrame(rows)
        section.numbers = {"accuracy": accuracy.to_dict("records"), "changes": rows}
        section.text = [
            "The calibration decides what a right answer is. The log-probability of an option holds how frequent its words"
            " are. Length divides by the option's length, pmi takes off its log-probability without the question, and"
            " contrast its mean log-probability when the question names another country. The prior alone is the accuracy of"
            " the options without the question. Rows that a calibration does not apply to are judged as the column"
            " `calibration` of the results says.",
        ]
        section.figures = [
            (
                "Accuracy of the untouched model on culture items by country, under each calibration; grey: the options"
                " without the question.",
                by_country(countries),
            )
        ]
        return section


STUDIES.register(NAME)(CalibrationStudy())


def _tests(run: SavedRun) -> list[TestConfig]:
    return [test for role in ROLES for test in run.config.tests_of(role)]


def _path(run: SavedRun, test: TestConfig) -> Path:
    return run.measured_path(NAME) / f"{run.test_names[test.label]}.parquet"


def results(run: SavedRun, test: TestConfig, condition: str) -> Iterator[tuple[str, EvalResult]]:
    """A condition's rows judged under every calibration that applies to any of them."""
    offsets = load_table(_path(run, test), "offsets of a calibration")
    result = run.result_on(test, condition).with_offsets(offsets)
    for kind in CALIBRATIONS:
        try:
            yield kind, result.calibrated(kind)
        except UsageError:  # no row has the offsets: ready-made prompts, or no country named
            continue


def _accuracies(run: SavedRun) -> Iterator[dict[str, object]]:
    for test in _tests(run):
        for kind, result in results(run, test, "none"):
            e, margin = estimate(result), estimate(result, "margin")
            yield {
                "role": test.role,
                "test": test.label,
                "calibration": kind,
                "accuracy": e.value,
                "low": e.low,
                "high": e.high,
                "margin": margin.value,
                "margin low": margin.low,
                "margin high": margin.high,
                "prior alone": _prior(result),
                "rows": e.rows,
            }


def _prior(result: EvalResult) -> float:
    return float(pd.Series(result.values("prior_correct")).mean())


def _countries(run: SavedRun) -> Iterator[dict[str, object]]:
    for test in run.config.tests_of("culture"):
        found = dict(results(run, test, "none"))
        prior = (
            pd.Series(found["none"].values("prior_correct")).groupby(found["none"].rows["country"].to_numpy()).mean()
        )
        tables = {kind: result.by("country").set_index("country") for kind, result in found.items()}
        for country in prior.index:
            row: dict[str, object] = {
                "test": test.label,
                "country": country,
                "rows": tables["none"].loc[country, "rows"],
            }
            row |= {kind: table.loc[country, "accuracy"] for kind, table in tables.items()}
            row |= {"prior alone": prior[country]}
            row |= {f"margin {kind}": table.loc[country, "margin"] for kind, table in tables.items()}
            yield row


def _changes(run: SavedRun) -> Iterator[dict[str, object]]:
    """Change under the culture-general set, and under it against the random sets, by calibration."""
    random = [name for name in run.set_names("random-") if not name.removeprefix("random-").strip("0123456789")]
    for test in _tests(run):
        if not run.result_path(test, CULTURE_GENERAL).is_file():
            continue
        untouched, masked = dict(results(run, test, "none")), dict(results(run, test, CULTURE_GENERAL))
        controls = [dict(results(run, test, name)) for name in random if run.result_path(test, name).is_file()]
        for kind in masked:
            pairs: list[tuple[str, EvalResult | list[EvalResult]]] = [("untouched", untouched[kind])]
            if controls:
                pairs.append(("random", [control[kind] for control in controls]))
            for against, other in pairs:
                for metric in ("correct", "margin"):
                    where = {"role": test.role, "test": test.label, "calibration": kind, "against": against}
                    yield where | compare(masked[kind], other, metric, seed=run.config.seed).to_dict()


def by_country(table: pd.DataFrame) -> go.Figure:
    """Dots of accuracy by country, a colour for each calibration."""
    first = table[table["test"] == table["test"].iloc[0]].sort_values("none")
    figure = empty_figure(110 + 24 * len(first))
    kinds = [kind for kind in CALIBRATIONS if kind in first]
    for name, colour in zip(["prior alone", *kinds], ["#b9bcc4", *PALETTE], strict=False):
        figure.add_scatter(
            x=list(100 * first[name]),
            y=list(first["country"]),
            mode="markers",
            name=name,
            marker={"size": 9, "color": colour},
            hovertemplate=f"{name}, %{{y}}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_xaxes(title="accuracy, %", ticksuffix=" %", range=[0, 100])
    legend_below(figure)
    return figure
