"""Short answers: the model writes, and what it wrote is looked through for an answer that counts as right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from culnig import distributed
from culnig.data import Item, account_of
from culnig.data.languages import fold, matcher, words
from culnig.errors import UsageError
from culnig.evaluation.comparing import bootstrap_ratio, by_question, question_of, subset
from culnig.evaluation.results import EvalResult, describe_items, read_rows
from culnig.models import LanguageModel
from culnig.passes.forward import Row, batches
from culnig.passes.generation import write_lines
from culnig.passes.memory import Fitting
from culnig.prompts import Prompt, PromptPolicy, encode_prompts, render

NEW_TOKENS = 32
"""Tokens an answer may have."""
BUDGET = 2048
"""Padded tokens a batch at least: a step of generation computes one token a row, so that rows are cheap."""
SEED = 42
"""Seed of the first batch where the model samples; others count on with their first prompt."""
Read = Literal["line", "all"]
Decoding = Literal["greedy", "model"]
_LIST = re.compile(r"^\s*(?:\(?[1١۱১][.)]|[-*•])\s+(?=\S)")
COLUMNS = {
    "id": "item id",
    "benchmark": "benchmark",
    "country": "country or other group",
    "language": "language of question and answer",
    "topic": "topic",
    "variant": "wording that comes with the benchmark",
    "wording": "our prompt wording",
    "text": "the first line that the model wrote, or all that it wrote",
    "normalised": "the same as it is compared",
    "matched": "the answer that was found in it; empty if none was",
    "in_english": "found by an English spelling only, though asked in another language",
    "correct": "whether an answer was found",
    "weighted": "votes of the answer found / most votes of any; 0 if none was found",
    "accepted": "spellings that count as right, those of the most votes first",
    "votes": "votes of each of these",
}


class AnswerResult(EvalResult):
    """Rows of short answers, with the columns in `COLUMNS`; comparable item by item like any `EvalResult`.

    `meta["matchers"]` says for each language which library found the words, or why none did.
    """

    def values(self, metric: str) -> np.ndarray:
        """`correct` or `weighted` of every row, float64 [rows].

        Raises:
            UsageError: another metric.
        """
        if metric not in ("correct", "weighted"):
            raise UsageError(f"unknown metric '{metric}' of short answers; there are correct and weighted")
        return self.rows[metric].to_numpy(dtype=float)

    def by(self, *columns: str) -> pd.DataFrame:
        """Rows, accuracy and vote-weighted score for each value of some columns.

        Raises:
            UsageError: no such column.
        """
        if missing := [column for column in columns if column not in self.rows]:
            raise UsageError(f"no column {', '.join(missing)}; there are {', '.join(self.rows.columns)}")
        grouped = self.rows.groupby(list(columns), sort=True)
        return grouped.agg(
            rows=("correct", "size"), accuracy=("correct", "mean"), weighted=("weighted", "mean")
        ).reset_index()

    def by_language(self, *, seed: int = 0) -> pd.DataFrame:
        """A row a language: countries, questions, rows, accuracy and weighted score with 95 % intervals, in_english, matcher."""
        rows = []
        for language in sorted(self.rows["language"].unique()):
            part = subset(self, "language", language)
            questions = question_of(part.rows)
            facts: dict[str, Any] = {"language": language, "countries": part.rows["country"].nunique()}
            facts |= {"questions": questions.nunique(), "rows": len(part)}
            for name, metric in (("accuracy", "correct"), ("weighted", "weighted")):
                values = part.values(metric)
                low, high, _ = bootstrap_ratio(*by_question(values, questions), seed)
                prefix = "" if name == "accuracy" else "weighted_"
                facts |= {name: float(values.mean()), f"{prefix}low": low, f"{prefix}high": high}
            used = self.meta.get("matchers", {}).get(language, {})
            facts |= {"in_english": float(part.rows["in_english"].mean()), "matcher": used.get("used", "")}
            rows.append(facts)
        return pd.DataFrame(rows)

    @classmethod
    def load(cls, path: Path | str) -> AnswerResult:
        """Read a result file.

        Raises:
            UsageError: no such file.
            DataError: not a result of short answers.
        """
        return cls(*read_rows(path, "a result of short answers", {"text", "matched", "correct"}, "answer"))


def answer(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    policy: PromptPolicy | None = None,
    max_new_tokens: int = NEW_TOKENS,
    read: Read = "line",
    decoding: Decoding = "greedy",
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> AnswerResult:
    """Let the model write an answer to every item, and look for an accepted one in it.

    Args:
        lm: the model, suppressed or not.
        items: items with `answers`.
        policy: chat template, BOS, wordings; formulation "short".
        max_new_tokens: length of an answer at most.
        read: "line" ends with the first line; "all" looks through everything that the model writes.
        decoding: "greedy", or "model" for what the model's generation config says.  That may be to sample; the sample
            then depends on the batches, and so on the token budget.
        token_budget: padded tokens a batch, prompt and answer; None suits the device.
        progress: called with the number of prompts done after each batch.

    Raises:
        UsageError: no items, or an answer of no length.
        PromptError: an item without answers, or a prompt that is too long.
    """
    account, items = account_of(items), list(items)
    if not items:
        raise UsageError("no items to answer")
    if max_new_tokens < 1:
        raise UsageError(f"answers need room for at least one token, not {max_new_tokens}")
    policy = policy or lm.policy("short")
    prompts = render(items, policy)
    written: dict[int, str] = {}

    def run(rows: Sequence[Row]) -> None:
        seed = None if decoding == "greedy" else SEED + rows[0].key
        lines = write_lines(lm, [row.prompt for row in rows], max_new_tokens, whole=read == "all", seed=seed)
        written.update(zip((row.key for row in rows), lines, strict=True))

    fitting = Fitting(run)
    rows = batches_to_write(lm, prompts, policy, max_new_tokens, token_budget)
    for chunk in distributed.share(rows):
        fitting(chunk)
        if progress:
            progress(len(chunk))
    lines = distributed.gather(written)
    made = [_judged(prompt.item, prompt.wording, lines[key]) for key, prompt in enumerate(prompts)]
    matchers = {name: matcher(name) for name in sorted({item.language for item in items})}
    meta = describe_items(lm, items, policy) | {
        "kind": "short answers",
        "max_new_tokens": max_new_tokens,
        "read": read,
        "decoding": decoding,
        "matchers": {name: {"used": one.used, "note": one.note} for name, one in matchers.items()},
        "rows": account,
    }
    return AnswerResult(pd.DataFrame(made), meta)


def batches_to_write(
    lm: LanguageModel, prompts: Sequence[Prompt], policy: PromptPolicy, max_new_tokens: int, token_budget: int | None
) -> list[list[Row]]:
    """Encoded prompts in batches; the tokens to come are counted as if they stood there already."""
    encoded = encode_prompts(prompts, lm.tokenizer, policy, lm.max_length, max_new_tokens)
    room = (0,) * (max_new_tokens + 1)
    rows = [Row(key, prompt, (room,)) for key, prompt in enumerate(encoded)]
    return batches(rows, token_budget or max(BUDGET, lm.token_budget))


def judge(item: Item, text: str) -> tuple[str, int, bool]:
    """The accepted answer that a text holds, with its votes, and whether only its English spelling was found; ("", 0, False) if none.

    Answers are tried from the most votes down, each in the item's language before English.  The number of a list that the
    text begins is not part of it.
    """
    text = _LIST.sub("", text)
    for accepted in item.answers:
        if (found := matcher(item.language).find(text, accepted.texts)) is not None:
            return found, accepted.votes, False
        if (found := matcher("en").find(text, accepted.english)) is not None:
            return found, accepted.votes, True
    return "", 0, False


def _judged(item: Item, wording: str, text: str) -> dict[str, Any]:
    """One row of the result; see `COLUMNS`."""
    matched, votes, in_english = judge(item, text)
    accepted = [(spelling, a.votes) for a in item.answers for spelling in dict.fromkeys((*a.texts, *a.english))]
    return {
        "id": item.id,
        "benchmark": item.benchmark,
        "country": item.country,
        "language": item.language,
        "topic": item.topic,
        "variant": item.variant,
        "wording": wording,
        "text": text,
        "normalised": " ".join(map(fold, words(_LIST.sub("", text)))),
        "matched": matched,
        "in_english": in_english,
        "correct": bool(matched),
        "weighted": votes / max(a.votes for a in item.answers),
        "accepted": [spelling for spelling, _ in accepted],
        "votes": [count for _, count in accepted],
    }
