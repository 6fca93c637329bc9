"""Compare lm-eval's samples between states of a model, and write samples, results and comparison into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, mcnemar
from culnig.evaluation.results import describe
from culnig.files import check_writable, json_text, safe_name, save_table, write_json, write_text
from culnig.integrations.conditions import State
from culnig.integrations.lm_eval import read_samples, with_priors
from culnig.models import LanguageModel

Results = dict[str, dict[tuple[str, str], EvalResult]]
"""State -> (task, metric) -> result."""


class Compared(NamedTuple):
    """What lm-eval's samples say of a set.

    Attributes:
        table: a row for each task and metric: levels, differences to the untouched model and to the random sets.
        results: the results that the table rests on.
        unpaired: metrics that are no number for each sample, so that they cannot be compared.
    """

    table: pd.DataFrame
    results: Results
    unpaired: list[str]


def compared(
    done: Mapping[str, Mapping[str, Any]], states: Sequence[State], lm: LanguageModel, *, seed: int = 0
) -> Compared:
    """Compare the states sample by sample.

    Args:
        done: state -> what lm-eval returned.
        states: the untouched model, the set, and the random sets, in this order.
        lm: the model, for the record.
        seed: seed of the bootstrap.

    Raises:
        UsageError: lm-eval gave no samples that can be compared.
    """
    results: Results = {}
    unpaired: list[str] = []
    for state in states:
        read = read_samples(done[state.name]["samples"], describe(lm, lm_eval=_version(done[state.name])) | state.meta)
        results[state.name], unpaired = read.results, read.unpaired
    untouched = results[states[0].name]
    _add_pmi(results, untouched)
    rows = [
        {"task": task, "metric": metric, **_row([results[state.name][task, metric] for state in states], seed)}
        for task, metric in untouched
    ]
    if not rows:
        raise UsageError(f"none of lm-eval's metrics is a number for each sample ({', '.join(unpaired)})")
    return Compared(pd.DataFrame(rows), results, unpaired)


def _add_pmi(results: Results, untouched: Mapping[tuple[str, str], EvalResult]) -> None:
    """Add our tasks judged by `pmi`, where their priors were measured; by `length`, where options have lengths that differ."""
    ours = [
        task for (task, metric), result in untouched.items() if metric == "correct" and "option_lengths" in result.rows
    ]
    before = {task: untouched[task, "correct"] for task in ours}
    for found in results.values():
        for task, base in before.items():
            if base.meta["formulation"] != "cf":
                continue
            found[task, "correct, length"] = found[task, "correct"].calibrated("length")
            if base.has_offsets("pmi"):
                found[task, "correct, pmi"] = with_priors(found[task, "correct"], base)


def _row(found: Sequence[EvalResult], seed: int) -> dict[str, Any]:
    before, after, *random = found
    first, second = compare(after, before, seed=seed), compare(after, random, seed=seed)
    values = np.concatenate([each.rows["correct"].to_numpy(dtype=float) for each in (before, after)])
    exact = mcnemar(after, before) if np.isin(values, (0.0, 1.0)).all() else None
    nan = float("nan")
    return {
        "samples": first.rows,
        "untouched": first.b,
        "changed": first.a,
        "random": second.b,
        "difference": first.difference,
        "low": first.low,
        "high": first.high,
        "p": first.p,
        "lost": exact.lost if exact else nan,
        "gained": exact.gained if exact else nan,
        "p_mcnemar": exact.p if exact else nan,
        "difference_random": second.difference,
        "low_random": second.low,
        "high_random": second.high,
        "p_random": second.p,
        "draws": second.draws,
    }


def _version(done: Mapping[str, Any]) -> str:
    return str(done.get("lm_eval_version", "unknown"))


def write(out: Path, done: Mapping[str, Mapping[str, Any]], results: Results, table: pd.DataFrame) -> None:
    """Write a new folder: `<state>/<task>.jsonl` (samples), `<state>/<task>-<metric>.parquet`, `comparison.parquet`.

    Raises:
        UsageError: the folder exists or cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} exists already; choose a new folder for --out")
    check_writable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        staged = Path(scratch) / "results"
        for state, record in done.items():
            for task, samples in record["samples"].items():
                lines = [json.dumps(json.loads(json_text(row, default=str)), ensure_ascii=False) for row in samples]
                write_text(staged / state / f"{safe_name(task)}.jsonl", "\n".join(lines) + "\n")
            kept = {
                key: record[key] for key in ("results", "configs", "versions", "n-shot", "n-samples") if key in record
            }
            write_json(staged / state / "results.json", json.loads(json_text(kept, default=str)))
            for (task, metric), result in results[state].items():
                result.save(staged / state / f"{safe_name(f'{task}-{metric}')}.parquet")
        save_table(staged / "comparison", table)
        shutil.move(staged, out)
