"""Results of more items than should be in memory: rows go to the disk a chunk of items at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from culnig import distributed
from culnig.data import Item, ItemStream
from culnig.evaluation.comparing import question_of
from culnig.evaluation.multiple_choice import count_rows
from culnig.evaluation.results import FORMAT, EvalResult, describe_items
from culnig.models import LanguageModel
from culnig.passes.calibration import forgetting
from culnig.prompts import PromptPolicy, forget_encoded
from culnig.sealed import save_row_parts, save_rows
from culnig.writing import scratch_folder

ResultT = TypeVar("ResultT", bound=EvalResult)
LABELS = ("benchmark", "country", "language", "calibration")
"""Texts of few values that are kept of every row."""


def save_results(
    path: Path, lm: LanguageModel, items: Sequence[Item], policy: PromptPolicy, run: Callable[[Sequence[Item]], ResultT]
) -> ResultT:
    """Evaluate items, and write the result.

    A list is evaluated as a whole.  Items of a stream are evaluated a chunk at a time, with the same rows in the same
    order, and what is kept in memory is 50 bytes a row.

    Args:
        path: the file to write.
        lm: the model.
        items: a list or an `ItemStream`.
        policy: the prompt policy.
        run: makes the result of some items.

    Returns:
        The result; of a stream with numbers and `LABELS` alone, and the column `question` in the place of ids.
    """
    if not isinstance(items, ItemStream):
        result = run(items)
        if distributed.is_main():
            result.save(path)
        return result
    kept: list[pd.DataFrame] = []
    meta: dict[str, Any] = {}
    with scratch_folder(path) as folder:
        parts = []
        for number, chunk in enumerate(items.chunks()):
            with forgetting(lm):
                part = run(chunk)
            forget_encoded(lm.tokenizer)
            meta = _joined(meta, part.meta)
            kept.append(_narrow(part.rows))
            if distributed.is_main():
                parts.append(folder / f"{number:06d}.parquet")
                save_rows(parts[-1], part.rows)
            part.rows = part.rows.iloc[:0]  # before the next chunk comes
        meta |= describe_items(lm, items, policy)
        if distributed.is_main():
            save_row_parts(path, parts, {"format": FORMAT} | meta)
    return type(part)(_together(kept), meta)


def count_prompts(items: Sequence[Item], policy: PromptPolicy) -> int:
    """Return how many distinct prompts will be run, for progress bars; those of a stream count in each of its chunks."""
    chunks: Iterator[list[Item]] = items.chunks() if isinstance(items, ItemStream) else iter([list(items)])
    return sum(count_rows(chunk, policy) for chunk in chunks)


def _joined(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the description of two parts; what is said by language is said of the languages of both."""
    both = {**first, **more}
    return both | {key: first.get(key, {}) | more[key] for key in ("matchers",) if key in more}


def _narrow(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers and labels of rows, and a number of 64 bits for each question."""
    names = [str(name) for name in rows if name in LABELS or rows[name].dtype.kind in "bf"]
    question = pd.util.hash_pandas_object(question_of(rows), index=False).astype(np.uint64)
    return rows[names].assign(question=question).astype({name: "category" for name in names if name in LABELS})


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all parts, a column at a time."""
    found = {}
    for name in dict.fromkeys(str(name) for part in parts for name in part):
        columns = [part.pop(name) if name in part else pd.Series(np.nan, part.index) for part in parts]
        same = isinstance(columns[0].dtype, pd.CategoricalDtype)
        joined = pd.api.types.union_categoricals(columns) if same else np.concatenate(columns)
        found[name] = joined
    return pd.DataFrame(found)
