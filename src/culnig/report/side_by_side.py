"""Several runs side by side: accuracies, and paired differences from the first run, on one page that stands alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, compare_text, estimate, restrict
from culnig.figures import ROLE_NAMES, SERIES, empty_figure, error_bars, legend_below
from culnig.formatting import interval, p_equals, points
from culnig.neurons import number_of_neurons
from culnig.report.page import run_facts, write_page
from culnig.report.questions import block_of, prompts_of
from culnig.statistics.overlap import chance_jaccard
from culnig.studies import SavedRun, Section

MAIN = "culture-general"
STATES = {"none": "untouched", MAIN: "culture neurons changed"}
ROLES = ("culture", "facts", "ability", "surface", "task")
Runs = dict[str, tuple[SavedRun, dict[str, Any]]]
"""Name of each run -> its saved files and its manifest."""


def named(runs: Sequence[tuple[SavedRun, dict[str, Any]]]) -> Runs:
    """Return the runs by the names of their folders, with the parent's name where these are not different.

    Raises:
        UsageError: a folder is given twice.
    """
    folders = [run.path.resolve() for run, _ in runs]
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise UsageError(f"{twice[0]} is given twice; name different runs")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return dict(zip(names, runs, strict=True))


def compare_runs(runs: Runs, path: Path) -> dict[str, pd.DataFrame]:
    """Write the page of a comparison; return its tables.

    Raises:
        UsageError: the runs have no test set in common.
    """
    labels = common_tests(runs)
    if not labels:
        raise UsageError("these runs have no test set in common; compare runs that were evaluated on the same items")
    first = next(iter(runs))
    section = Section("Side by side")
    section.tables = {
        "runs": run_table(runs),
        "accuracies": accuracy_table(runs, labels),
        "differences": difference_table(runs, labels),
    }
    section.titles = {
        "runs": "The runs",
        "accuracies": "Accuracy of each run",
        "differences": f"Differences from {first}, paired by question",
    }
    if len(overlap := overlap_table(runs)):
        section.tables["overlap"], section.titles["overlap"] = overlap, "Culture-general sets in common"
    section.figures = [
        (
            "Accuracy of each run, with 95 % intervals: untouched (filled), and with its culture neurons changed (open).",
            accuracy_dots(section.tables["accuracies"]),
        )
    ]
    words = Section("In words", text=said(section.tables["differences"], first))
    facts = [(f"{name}: {key}", value) for name, (_, manifest) in runs.items() for key, value in run_facts(manifest)]
    write_page(
        path,
        [section, words],
        ("overview", "questions", "run"),
        lambda most: {"cards": [], "sets": {"sets": {}}, "questions": question_blocks(runs, labels, most)},
        title=f"{' and '.join(runs)}: side by side",
        name="comparison",
        run=[("Again", "culnig report " + " ".join(str(run.path) for run, _ in runs.values())), *facts],
        config="\n\n".join(f"{name}: {run.path / 'config.yaml'}" for name, (run, _) in runs.items()),
    )
    return section.tables


def common_tests(runs: Runs) -> list[str]:
    """Return the labels of the test sets that every run evaluated untouched, as questions with options."""
    found = []
    for run, _ in runs.values():
        done = [t.label for t in run.config.test if t.role != "short" and run.result_path(t, "none").is_file()]
        found.append(done)
    return [label for label in found[0] if all(label in done for done in found)]


def result_of(run: SavedRun, label: str, condition: str) -> EvalResult | None:
    """Return a run's result on a test set; None where there is none."""
    test = next(test for test in run.config.test if test.label == label)
    path = run.result_path(test, condition)
    return EvalResult.load(path) if path.is_file() else None


def role_of(runs: Runs, label: str) -> str:
    """Return the role of a test set, in the first run."""
    run = next(iter(runs.values()))[0]
    return next(test.role for test in run.config.test if test.label == label)


def run_table(runs: Runs) -> pd.DataFrame:
    """Return a row a run: model, formulation, size of its set, plain text."""
    rows = []
    for name, (run, manifest) in runs.items():
        model, prompts = manifest["model"], manifest["prompts"]
        row: dict[str, Any] = {"run": name, "model": model["model"], "model_hash": model["model_hash"]}
        row |= {
            "formulation": prompts["formulation"],
            "scoring": str(run.config.scoring),
            "operation": run.config.operation,
        }
        if run.neurons_path(MAIN).is_file():
            row["neurons"] = len(run.neurons(MAIN))
        if texts := [text for condition in STATES if (text := run.text(condition))]:
            row["perplexity"] = texts[0].perplexity
            if len(texts) == 2:
                row["perplexity_ratio"] = compare_text(texts[1], texts[0]).ratio
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_table(runs: Runs, labels: list[str]) -> pd.DataFrame:
    """Return a row for each test set, run and state: accuracy with its interval."""
    rows = []
    for label, (name, (run, _)) in itertools.product(labels, runs.items()):
        for condition, state in STATES.items():
            if result := result_of(run, label, condition):
                e = estimate(result)
                row = {"role": role_of(runs, label), "test": label, "run": name, "state": state}
                rows.append(row | {"accuracy": e.value, "low": e.low, "high": e.high, "questions": e.questions})
    return pd.DataFrame(rows)


def difference_table(runs: Runs, labels: list[str]) -> pd.DataFrame:
    """Return paired differences of every run from the first one, on the questions that both have.

    What is compared: the untouched models, the changed ones, and the change itself (changed minus untouched).
    """
    (first, (base, _)), *others = runs.items()
    rows = []
    for label, (name, (run, _)) in itertools.product(labels, others):
        pairs = {state: (result_of(run, label, c), result_of(base, label, c)) for c, state in STATES.items()}
        pairs["effect of the change"] = (_effect(run, label), _effect(base, label))
        for state, (mine, theirs) in pairs.items():
            if mine is None or theirs is None:
                continue
            mine, theirs = restrict(mine, theirs), restrict(theirs, mine)
            row = {"role": role_of(runs, label), "test": label, "run": name, "minus": first, "compared": state}
            if not len(mine):
                rows.append(row | {"questions": 0})
                continue
            found = compare(mine, theirs).to_dict()
            keep = ("a", "b", "difference", "low", "high", "p", "p_floor", "questions", "rows")
            rows.append(row | {key: found[key] for key in keep})
    return pd.DataFrame(rows)


def _effect(run: SavedRun, label: str) -> EvalResult | None:
    """Changed minus untouched, question by question, as a result whose `correct` is -1, 0 or 1."""
    untouched, changed = (result_of(run, label, condition) for condition in STATES)
    if untouched is None or changed is None:
        return None
    untouched = restrict(untouched, changed)
    keys = ["benchmark", "id", "wording"]
    joined = changed.rows.merge(untouched.rows[[*keys, "correct"]], on=keys, suffixes=("", "_before"))
    return EvalResult(joined.assign(correct=joined["correct"].astype(float) - joined["correct_before"]), changed.meta)


def overlap_table(runs: Runs) -> pd.DataFrame:
    """Return each pair of runs whose sets lie in models of the same shape: Jaccard index, and that of random sets."""
    rows = []
    there = {
        name: run
        for name, (run, _) in runs.items()
        if run.neurons_path(MAIN).is_file() and run.scores_path("neur").is_file()
    }
    for (a, one), (b, other) in itertools.combinations(there.items(), 2):
        shapes = one.scores("neur").shapes()
        if shapes != other.scores("neur").shapes():
            continue
        sets = one.neurons(MAIN), other.neurons(MAIN)
        chance = chance_jaccard(len(sets[0]), len(sets[1]), number_of_neurons(shapes))
        row = {"run": a, "other": b, "neurons": len(sets[0]), "other_neurons": len(sets[1])}
        rows.append(row | {"common": len(sets[0] & sets[1]), "jaccard": sets[0].jaccard(sets[1]), "by_chance": chance})
    return pd.DataFrame(rows)


def said(differences: pd.DataFrame, first: str) -> list[str]:
    """Return what the differences say in words."""
    texts = []
    for row in differences.to_dict("records"):
        if row["questions"] == 0:
            texts.append(f"{row['test']}: {row['run']} and {first} have no question in common.")
        elif row["compared"] != STATES[MAIN]:
            what = (
                "the effect of the change differs" if row["compared"] != "untouched" else "the untouched models differ"
            )
            texts.append(
                f"{ROLE_NAMES.get(row['role'], row['role'])} ({row['test']}): {what} by {points(row['difference'])} points"
                f" ({interval(row)}; {p_equals(row)}), {row['run']} minus {first}, over {row['questions']:,} questions."
            )
    return [*texts, "Intervals and p-values are not corrected over test sets and runs."]


def accuracy_dots(table: pd.DataFrame) -> go.Figure:
    """Draw a group of rows for each test set; a colour is a run."""
    figure = empty_figure(10)
    names = list(dict.fromkeys(table["run"]))
    y, ticks, labels = 0.0, [], []
    for test, part in table.groupby("test", sort=False):
        role = part["role"].iloc[0]
        title = f"<b>{ROLE_NAMES.get(role, role)}</b> ({test})"
        figure.add_annotation(x=0, y=y, xref="paper", text=title, showarrow=False, xanchor="left")
        y += 0.9
        for _, row in part.iterrows():
            colour = SERIES[names.index(row["run"]) % len(SERIES)]
            filled = row["state"] == "untouched"
            figure.add_scatter(
                x=[100 * row["accuracy"]],
                y=[y],
                mode="markers",
                name=row["run"],
                legendgroup=row["run"],
                showlegend=bool(filled and test == table["test"].iloc[0]),
                error_x=error_bars(row["accuracy"], row["low"], row["high"], unit=100, color=colour),
                marker={"size": 10, "color": colour, "symbol": "circle" if filled else "circle-open"},
                hovertemplate=f"{row['run']}, {row['state']}: %{{x:.1f}} %<extra></extra>",
            )
            ticks.append(y)
            labels.append(f"{row['run']}, {row['state']}")
            y += 1
        y += 0.3
    figure.update_layout(height=int(60 + 26 * y))
    figure.update_yaxes(tickvals=ticks, ticktext=labels, range=[y - 0.6, -0.5], showgrid=False)
    figure.update_xaxes(title="accuracy, %", ticksuffix=" %")
    return legend_below(figure)


def question_blocks(runs: Runs, labels: list[str], most: int) -> list[dict[str, Any]]:
    """Return what the question browser shows: the first run untouched, and every other run and state."""
    (first, (base, _)), *_ = runs.items()
    blocks = []
    for label in labels:
        untouched = result_of(base, label, "none")
        assert untouched is not None
        others = {
            f"{name}, {state}": result
            for (name, (run, _)), (condition, state) in itertools.product(
                [*list(runs.items())[1:], (first, runs[first])], STATES.items()
            )
            if (name, condition) != (first, "none") and (result := result_of(run, label, condition))
        }
        test = next(test for test in base.config.test if test.label == label)
        block = block_of(untouched, others, prompts_of(base, test, untouched), max(1, most // len(labels)))
        more = {"name": base.test_names[label], "label": label, "role": test.role, "leftOutConditions": 0}
        blocks.append(
            block | more | {"before": f"{first}, untouched", "exactPrompts": base.prompts_path(test).is_file()}
        )
    return blocks
