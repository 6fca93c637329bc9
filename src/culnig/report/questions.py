"""What the question browser shows: the saved rows of every test set, with prompts, for each condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from culnig.errors import CulnigError
from culnig.evaluation import EvalResult
from culnig.evaluation.comparing import KEYS
from culnig.evaluation.judging import option_probabilities
from culnig.files import unsafe_name
from culnig.prompts import PromptPolicy, render
from culnig.studies import SavedRun, TestConfig

MAIN = "culture-general"
MOST_CONDITIONS = 40
"""Conditions of a test set that the page holds; the rest is in the run's folder."""
MOST_ROWS = 6000
"""Rows of all test sets together that the page holds."""


def question_data(run: SavedRun, most: int = MOST_ROWS) -> list[dict[str, Any]]:
    """Return a block for each test set that was evaluated untouched.

    Args:
        run: the run's saved files.
        most: rows of all test sets together.  Of more, those whose answer changes come first, then the others, evenly.
    """
    found = []
    for test in run.config.test:
        path = run.result_path(test, "none")
        if test.role != "short" and path.is_file():
            found.append((test, EvalResult.load(path)))
    total = sum(len(result) for _, result in found)
    return [_block(run, test, result, max(1, most * len(result) // max(total, most))) for test, result in found]


def _block(run: SavedRun, test: TestConfig, untouched: EvalResult, most: int) -> dict[str, Any]:
    """One test set of a run: the untouched model, and each condition."""
    names = _conditions(run, test)
    others = {name: EvalResult.load(run.result_path(test, name)) for name in names[:MOST_CONDITIONS]}
    block = block_of(untouched, others, prompts_of(run, test, untouched), most)
    return block | {
        "name": run.test_names[test.label],
        "label": test.label,
        "role": test.role,
        "leftOutConditions": len(names) - len(others),
        "exactPrompts": run.prompts_path(test).is_file(),
    }


def block_of(untouched: EvalResult, others: dict[str, EvalResult], prompts: pd.DataFrame, most: int) -> dict[str, Any]:
    """Return columns of equal length, and what each condition gave.

    Args:
        untouched: the result that the others are compared with.
        others: condition -> its result on the same rows, or on some of them; the first is the main one.
        prompts: prompt and answers by benchmark, id and wording.
        most: rows that are kept.
    """
    results = {name: _aligned(result.rows, untouched.rows) for name, result in others.items()}
    main = next(iter(results), None)
    keep = _kept(untouched.rows, results[main] if main else None, most)
    rows, mcf = untouched.rows.iloc[keep], untouched.meta.get("formulation") == "mcf"
    texts = prompts.reindex(pd.MultiIndex.from_frame(rows[KEYS].astype(str)))
    conditions = {name: _answers(result.iloc[keep], mcf=mcf, whole=name == main) for name, result in results.items()}
    return {
        "main": main,
        "before": "untouched",
        "random": [name for name in results if name.startswith("random-")],
        "ids": list(rows["id"].astype(str)),
        "wordings": list(rows["wording"].astype(str)),
        "countries": list(rows["country"].astype(str)),
        "topics": list(rows["topic"].astype(str)),
        "gold": [int(gold) for gold in rows["gold"]],
        "prompts": [text if isinstance(text, str) else "" for text in texts["prompt"]],
        "options": [list(options) if np.ndim(options) else [] for options in texts["answers"]],
        "untouched": _answers(rows, mcf=mcf, whole=True),
        "conditions": conditions,
        "leftOut": len(untouched.rows) - len(keep),
        "overVocabulary": mcf and set(rows.get("calibration", ["none"])) == {"none"},
    }


def _conditions(run: SavedRun, test: TestConfig) -> list[str]:
    """Names of the conditions that were evaluated, the main one first, then random ones, then the others."""
    folder = run.result_path(test, "none").parent
    names = sorted({unsafe_name(path.stem) for path in folder.glob("*.parquet")} - {"none", "general"})
    if run.result_path(test, MAIN).is_file() and MAIN not in names:
        names.append(MAIN)  # a folder of version 0.1, where the file has its old name
    return sorted(names, key=lambda name: (name != MAIN, not name.startswith("random-"), name))


def _aligned(rows: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Rows of a condition in the order of the untouched ones; missing where it was not evaluated on them."""
    index = pd.MultiIndex.from_frame(rows[KEYS].astype(str))
    return rows.set_index(index).reindex(pd.MultiIndex.from_frame(like[KEYS].astype(str))).reset_index(drop=True)


def _kept(rows: pd.DataFrame, main: pd.DataFrame | None, most: int) -> np.ndarray:
    """Positions of the rows that the page holds, in order."""
    if len(rows) <= most:
        return np.arange(len(rows))
    changed = (
        (main["correct"].astype("boolean") != rows["correct"].reset_index(drop=True)) if main is not None else None
    )
    first = np.flatnonzero(changed.fillna(False)) if changed is not None else np.array([], dtype=int)
    others = np.setdiff1d(np.arange(len(rows)), first)
    room = max(0, most - len(first))
    evenly = others[np.linspace(0, len(others) - 1, room).astype(int)] if room and len(others) else others[:0]
    return np.sort(np.unique(np.concatenate([first[:most], evenly])))


def _answers(rows: pd.DataFrame, *, mcf: bool, whole: bool) -> dict[str, Any]:
    """Prediction, P(gold) and whether it is right; of the conditions that are shown first also each option's probability."""
    there = rows["correct"].notna()
    found: dict[str, Any] = {
        "right": [int(bool(right)) if known else None for right, known in zip(rows["correct"], there, strict=True)],
        "chosen": [int(p) if known else None for p, known in zip(rows["prediction"], there, strict=True)],
        "p": [round(float(p), 3) if known else None for p, known in zip(rows["p_gold"], there, strict=True)],
    }
    if whole:
        probabilities = iter(option_probabilities(rows[there], mcf=mcf))
        found["options"] = [[round(float(p), 3) for p in next(probabilities)] if known else [] for known in there]
    return found


def prompts_of(run: SavedRun, test: TestConfig, result: EvalResult) -> pd.DataFrame:
    """Prompt and answers by benchmark, id and wording: as saved, or rendered again from the items for older runs."""
    path = run.prompts_path(test)
    if path.is_file():
        table = pd.read_parquet(path)
    else:
        table = pd.DataFrame(_rendered(run, test, result), columns=[*KEYS, "prompt", "answers"])
    index = pd.MultiIndex.from_frame(table[KEYS].astype(str))
    return table.set_index(index)[["prompt", "answers"]].loc[~index.duplicated()]


def _rendered(run: SavedRun, test: TestConfig, result: EvalResult) -> list[dict[str, Any]]:
    """Render the items again; nothing where the benchmark's rows are no longer there."""
    saved = result.meta.get("prompts") or {}
    known = {key: value for key, value in saved.items() if key in PromptPolicy.model_fields}
    try:
        prompts = render(test.load(run.config.seed, run.config.sources), PromptPolicy.model_validate(known))
    except (CulnigError, OSError, ValueError):
        return []
    return [
        {
            "benchmark": p.item.benchmark,
            "id": p.item.id,
            "wording": p.wording,
            "prompt": "\n".join(part for part in (p.system, p.text, p.prefix) if part),
            "answers": list(p.answers),
        }
        for p in prompts
    ]
