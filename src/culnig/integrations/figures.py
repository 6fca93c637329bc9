"""What was measured with a neuron set, as rows for its repository: from result files, or from the run that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, estimate
from culnig.files import unsafe_name
from culnig.models.fingerprint import same_model
from culnig.neurons import NeuronSet

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class Measured:
    """What a run or some result files say about a set.

    Attributes:
        figures: rows with test, condition, what ("accuracy", "suppressed - untouched", ..), value, low, high, questions.
        guards: rows of `evaluation.Guard`.
        controls: name -> random set.
        config: text of the run's config.
    """

    figures: list[dict[str, Any]] = field(default_factory=list)
    guards: list[dict[str, Any]] = field(default_factory=list)
    controls: dict[str, NeuronSet] = field(default_factory=dict)
    config: str = ""


def run_of(path: Path) -> Path | None:
    """Return the run's folder that a neuron file lies in; None if it lies in none."""
    run = path.resolve().parent.parent
    return run if path.resolve().parent.name == "neurons" and (run / "config.yaml").is_file() else None


def of_run(run: Path, name: str) -> Measured:
    """Return what a run has measured of one of its sets, with its random sets.

    Args:
        run: the run's folder.
        name: name of the set, which is that of its condition.
    """
    rows: list[dict[str, Any]] = []
    for folder in sorted(path for path in (run / "evals").glob("*") if (path / "none.parquet").is_file()):
        files = {unsafe_name(path.stem): path for path in folder.glob("*.parquet")}
        if name not in files or folder.name == "plain-text":
            continue
        draws = sorted(other for other in files if other.startswith("random-"))
        results = {each: EvalResult.load(files[each]) for each in ("none", name, *draws)}
        rows += _rows(folder.name, results["none"], results[name], [results[draw] for draw in draws])
    controls = {
        unsafe_name(path.stem): NeuronSet.load(path) for path in sorted((run / "neurons").glob("random-*.json"))
    }
    config = (run / "config.yaml").read_text(encoding="utf-8")
    return Measured(rows, _guards(run, name), controls if name == "culture-general" else {}, config)


def of_results(paths: Sequence[Path], neurons: NeuronSet, model_hash: str) -> list[dict[str, Any]]:
    """Return the figures of result files of `culnig eval`: untouched and under the set, paired where both are there.

    Raises:
        UsageError: a result is of another model, or of an intervention on another number of neurons.
    """
    by_test: dict[str, dict[str, EvalResult]] = {}
    for path in paths:
        result = EvalResult.load(path)
        if not same_model(result.meta, {"model_hash": model_hash}):
            raise UsageError(f"{path}: a result of another model ({result.meta.get('model')}); leave it out")
        done = result.meta.get("intervention")
        if done and done["count"] != len(neurons):
            raise UsageError(f"{path}: a result with {done['count']} neurons changed, and the set has {len(neurons)}")
        name = ", ".join(sorted(result.rows["benchmark"].astype(str).unique()))
        test = f"{name} ({str(result.meta.get('data_hash'))[:8]})"
        condition = str(done["operation"]) if done else UNTOUCHED
        if condition in by_test.setdefault(test, {}):
            raise UsageError(f"{path}: the second result on {name} that is {condition}; give each once")
        by_test[test][condition] = result
    rows = []
    for test, found in by_test.items():
        rows += [_accuracy(test, condition, result) for condition, result in found.items()]
        before = found.get(UNTOUCHED)
        changed = [(condition, result) for condition, result in found.items() if condition != UNTOUCHED]
        rows += [_difference(test, f"{name} - untouched", after, [before]) for name, after in changed if before]
    return rows


def _rows(test: str, before: EvalResult, after: EvalResult, draws: list[EvalResult]) -> list[dict[str, Any]]:
    operation = (after.meta.get("intervention") or {}).get("operation", "changed")
    rows = [_accuracy(test, UNTOUCHED, before), _accuracy(test, operation, after)]
    rows.append(_difference(test, f"{operation} - untouched", after, [before]))
    if draws:
        rows.append(_difference(test, f"{operation} - {len(draws)} random sets", after, draws))
    return rows


def _accuracy(test: str, condition: str, result: EvalResult) -> dict[str, Any]:
    e = estimate(result)
    found = {"test": test, "condition": condition, "what": "accuracy", "value": e.value, "low": e.low, "high": e.high}
    return found | {"questions": e.questions, "rows": e.rows, "data_hash": result.meta.get("data_hash")}


def _difference(test: str, what: str, after: EvalResult, before: list[EvalResult]) -> dict[str, Any]:
    c = compare(after, before)
    found = {"test": test, "condition": what, "what": "change", "value": c.difference, "low": c.low, "high": c.high}
    return found | {"p": c.p, "questions": c.questions, "rows": c.rows}


def _guards(run: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((run / "tables").glob("*guards.parquet")):
        table = pd.read_parquet(path)
        if {"condition", "state"} <= set(table.columns) and (table["condition"] == name).any() and not found:
            rows = table[table["condition"] == name].drop(columns="condition")
            found = [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]
    return found
