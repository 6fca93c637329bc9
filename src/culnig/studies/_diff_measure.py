"""What the study `diff` measures on the tuned model: answers, plain text, scores, its own set, and how far rows moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig import distributed
from culnig.attribution import Means, Scores, score
from culnig.data import load_texts
from culnig.errors import UsageError
from culnig.evaluation import evaluate, perplexity
from culnig.evaluation.multiple_choice import count_rows
from culnig.files import atomic_path, safe_name, write_json
from culnig.models import LanguageModel, load_model
from culnig.passes.calibration import load_offsets
from culnig.selection import select_general
from culnig.studies._base import MeasurementContext
from culnig.studies._culture_general_set import CULTURE_GENERAL
from culnig.studies._saved import identification_sets

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import TestConfig

NAME = "diff"
ROLES = ("culture", "ability", "facts", "surface", "task")
SET, MOVED, TEXT, MODEL = "neurons.json", "moved.parquet", "text.parquet", "model.json"


def path_of(run: SavedRun, *names: str) -> Path:
    """A file of the study."""
    return run.measured_path(NAME).joinpath(*names)


def tests_of(run: SavedRun) -> list[TestConfig]:
    """The test sets on which the two models are compared, in the order of the roles."""
    return [test for role in ROLES for test in run.config.tests_of(role)]


def result_path(run: SavedRun, test: TestConfig, condition: str = "none") -> Path:
    """The tuned model's result under a condition."""
    return path_of(run, "evals", run.test_names[test.label], f"{safe_name(condition)}.parquet")


def scores_path(run: SavedRun, part: str) -> Path:
    """The tuned model's scores of an identification set."""
    return path_of(run, "scores", f"{part}.safetensors")


def tuned_scores(run: SavedRun, part: str) -> Scores:
    """The tuned model's scores of an identification set, by the run's first method."""
    scores = Scores.load(scores_path(run, part))
    return scores.of_method(scores.method) if len(scores.methods) > 1 else scores


def is_measured(run: SavedRun) -> bool:
    """Whether every file is there."""
    results = [result_path(run, test) for test in tests_of(run)]
    results.append(result_path(run, run.config.tests_of("culture")[0], CULTURE_GENERAL))
    results += [scores_path(run, part) for part in identification_sets(run.config)]
    results += [path_of(run, name) for name in (SET, MOVED, MODEL)]
    results += [path_of(run, TEXT)] if run.config.guards.text is not None else []
    return all(path.is_file() for path in results)


def measure_tuned(
    run: SavedRun, context: MeasurementContext, name: str, loading: Mapping[str, Any], random_sets: int
) -> None:
    """Measure what is not there yet.

    Args:
        run: the run of the base model; its sets and results are made.
        context: the base model, the prompt policies and the items.
        name: the tuned model.
        loading: further arguments of `load_model`.
        random_sets: random sets for the table of moved rows.

    Raises:
        UsageError: the tuned model has another shape, or is the base itself.
    """
    with context.reporter.step(f"load {name}"):
        tuned = load_model(name, say=context.reporter.say, **loading)
    if tuned.shapes != context.lm.shapes:
        raise UsageError(f"diff.tuned: {tuned.name} has another shape than {context.lm.name}; name one tuned from it")
    if tuned.fingerprint == context.lm.fingerprint:
        raise UsageError(f"diff.tuned: {name} is the base itself (hash {tuned.fingerprint}); name a tuned checkpoint")
    if run.offsets_path.is_file():
        load_offsets(tuned, run.offsets_path, of_base=True)
    _evaluate(run, context, tuned)
    _read_text(run, context, tuned)
    _score(run, context, tuned)
    if distributed.is_main():
        _select(run, tuned)
        _compare_rows(run, context.lm, tuned, random_sets)
        write_json(path_of(run, MODEL), tuned.description | {"source": name})


def _evaluate(run: SavedRun, context: MeasurementContext, tuned: LanguageModel) -> None:
    culture = run.config.tests_of("culture")[0]
    work = [(test, "none") for test in tests_of(run)] + [(culture, CULTURE_GENERAL)]
    todo = [(test, name) for test, name in work if not result_path(run, test, name).is_file()]
    items = {test.label: context.items(test) for test, _ in todo}
    total = sum(count_rows(items[test.label], context.policy) for test, _ in todo)
    with context.reporter.step(f"evaluate {tuned.name}", total, "prompts") as progress:
        for test, name in todo:
            options: dict[str, Any] = {"policy": context.policy, "token_budget": context.token_budget}
            operation = run.config.done
            if name == "none":
                result = evaluate(tuned, items[test.label], progress=progress, **options)
            else:
                neurons = run.neurons(name)
                means = Means.load(run.means_path(operation.reference)) if operation.reference else None
                if means is not None:
                    raise UsageError("diff compares suppression and scaling; operation mean and control are not for it")
                with operation.on(tuned, neurons):
                    result = evaluate(tuned, items[test.label], progress=progress, **options)
                result.meta |= {"intervention": {"neurons": name, "count": len(neurons), "operation": operation.name}}
            if distributed.is_main():
                result.save(result_path(run, test, name))


def _read_text(run: SavedRun, context: MeasurementContext, tuned: LanguageModel) -> None:
    source, path = run.config.guards.text, path_of(run, TEXT)
    if source is None or path.is_file():
        return
    paragraphs = load_texts(source)
    with context.reporter.step(f"read plain text with {tuned.name}", len(paragraphs), "paragraphs") as progress:
        bos, budget = context.policy.bos, context.token_budget
        result = perplexity(tuned, paragraphs, bos=bos, token_budget=budget, progress=progress)
    if distributed.is_main():
        result.save(path)


def _score(run: SavedRun, context: MeasurementContext, tuned: LanguageModel) -> None:
    for part, data in identification_sets(run.config).items():
        if scores_path(run, part).is_file():
            continue
        items = context.items(data)
        with context.reporter.step(f"score {part} with {tuned.name}", len(items), "prompts") as progress:
            made = score(
                tuned,
                items,
                policy=context.scoring_policy,
                method=run.config.scoring,
                control=True if part.endswith("ctrl") else None,
                token_budget=context.token_budget,
                progress=progress,
            )
        if distributed.is_main():
            made.save(scores_path(run, part))


def _select(run: SavedRun, tuned: LanguageModel) -> None:
    """Select on the tuned model by the rule that selected on the base; the set may be empty."""
    ability = tuned_scores(run, "ability") if run.config.identify.ability else None
    parts = [tuned_scores(run, part) for part in ("neur", "ctrl", "crc")]
    select_general(*parts, ability=ability, **run.config.culture_general.model_dump()).save(path_of(run, SET))


def _compare_rows(run: SavedRun, base: LanguageModel, tuned: LanguageModel, random_sets: int) -> None:
    from culnig.finetune.movement import neuron_table, row_changes, summary

    neurons = run.neurons(CULTURE_GENERAL)
    changed = row_changes(base, tuned)
    scores = run.scores("neur"), tuned_scores(run, "neur")
    moved = summary(changed, neurons, base.shapes, scores, draws=random_sets, seed=run.config.seed)
    for name, frame in ((MOVED, moved), ("rows.parquet", neuron_table(changed, neurons, scores))):
        with atomic_path(path_of(run, name)) as temporary:
            frame.to_parquet(temporary, index=False)
