"""Perplexity on plain text: does the model still predict ordinary sentences?  Rows a paragraph, forward passes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from culnig import distributed
from culnig.errors import UsageError
from culnig.evaluation.results import describe, read_rows, write_rows
from culnig.files import sha256_json
from culnig.formatting import format_number
from culnig.models import LanguageModel
from culnig.passes.forward import Row, batches
from culnig.passes.in_step import share_in_step
from culnig.passes.memory import Fitting
from culnig.passes.plain_text import WINDOW, pieces, token_logprobs
from culnig.statistics.bootstrap import differences
from culnig.statistics.draws import paired_sums

BUDGET = 2048
"""Padded tokens a batch at most: here every position needs its logits, [tokens, vocabulary] in float32."""


class TextResult:
    """Token log-probabilities of some paragraphs.

    Attributes:
        rows: a data frame, a row a paragraph (or a piece of a long one): paragraph, piece, tokens (predicted ones), logprob
            (their sum, nats), token_logprobs (each).
        meta: model, text, intervention and versions.
    """

    def __init__(self, rows: pd.DataFrame, meta: dict[str, Any] | None = None) -> None:
        self.rows = rows
        self.meta = meta or {}

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"TextResult({len(self)} rows, perplexity {format_number(self.perplexity, '.2f')})"

    @property
    def perplexity(self) -> float:
        """exp(-sum of log-probabilities / number of predicted tokens); infinite where float64 cannot hold it."""
        return _exp(-self.rows["logprob"].sum() / self.rows["tokens"].sum())

    def save(self, path: Path | str) -> None:
        """Write Parquet, with `meta` as JSON under the key `culnig` of the file's metadata."""
        write_rows(path, self.rows, self.meta)

    @classmethod
    def load(cls, path: Path | str) -> TextResult:
        """Read a result file.

        Raises:
            UsageError: no such file.
            DataError: not a perplexity result.
        """
        return cls(*read_rows(path, "a perplexity result", {"paragraph", "token_logprobs"}, "perplexity"))


@dataclass(frozen=True)
class TextComparison:
    """Two conditions on the same text.

    Attributes:
        a, b: perplexities of the two sides; of several draws the geometric mean.
        ratio: a / b; infinite where a alone gives some token no probability, NaN where both do.
        low, high: ends of its 95 % interval (BCa bootstrap over paragraphs, of the mean log-probability a token; against
            several random draws widened for these).
        p: two-sided p-value of a ratio of 1, as in `Comparison`.
        paragraphs, tokens: independent units, and predicted tokens.
        draws: results on the other side.
        p_floor: least p-value that resampling could give; 0 for exact tests.
    """

    a: float
    b: float
    ratio: float
    low: float
    high: float
    p: float
    paragraphs: int
    tokens: int
    draws: int = 1
    p_floor: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def perplexity(
    lm: LanguageModel,
    paragraphs: Sequence[str],
    *,
    bos: str = "auto",
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TextResult:
    """Log-probability of every token of every paragraph given the tokens before it in the paragraph.

    The first token of a paragraph is predicted only where a special token stands before it.

    Args:
        lm: the model, suppressed or not.
        paragraphs: what `load_texts` gives.
        bos: "auto" (what the tokenizer does), "on", "off".
        token_budget: padded tokens a batch, at most 2,048; None suits the device.
        progress: called with the number of rows done after each batch.

    Raises:
        UsageError: no text, an unknown `bos`, or BOS asked of a tokenizer without one.
        DataError: a paragraph with fewer than two tokens.
    """
    parts = list(pieces(lm, paragraphs, bos))
    rows = [Row(key, ids, ()) for key, (_, _, ids) in enumerate(parts)]
    found: dict[int, np.ndarray] = {}

    def run(part: Sequence[Row]) -> None:
        for row, logprobs in zip(part, _values(lm, [row.prompt for row in part]), strict=True):
            found[row.key] = logprobs

    fitting = Fitting(run, halves=not lm.is_sharded)
    for chunk, counts in share_in_step(lm, batches(rows, min(token_budget or lm.token_budget, BUDGET))):
        fitting(chunk)  # a batch that does not count gives rows that another process gives, too
        if progress and counts:
            progress(len(chunk))
    found = distributed.gather(found)
    made = [
        {
            "paragraph": paragraph,
            "piece": piece,
            "tokens": len(found[key]),
            "logprob": float(found[key].sum()),
            "token_logprobs": found[key].tolist(),
        }
        for key, (paragraph, piece, _) in enumerate(parts)
    ]
    window = min(lm.max_length or WINDOW, WINDOW)
    meta = describe(lm, kind="perplexity", data_hash=sha256_json(list(paragraphs)), bos=bos, window=window)
    return TextResult(pd.DataFrame(made), meta)


def compare_text(a: TextResult, b: TextResult | Sequence[TextResult], *, seed: int = 0) -> TextComparison:
    """Compare two conditions paragraph by paragraph.

    Args:
        a: one condition.
        b: the other, or several random draws (controls); then paragraphs and draws are both samples.
        seed: seed of the bootstrap.

    Raises:
        UsageError: they are not of the same text, tokenised the same way.
    """
    others = [b] if isinstance(b, TextResult) else list(b)
    if not others:
        raise UsageError("nothing to compare with")
    keys = ["paragraph", "piece", "tokens"]
    for other in others:
        if a.meta.get("data_hash") != other.meta.get("data_hash") or not a.rows[keys].equals(other.rows[keys]):
            raise UsageError("the two perplexity results are not of the same text and tokens")
    mine, theirs = by_paragraph(a, "logprob"), np.stack([by_paragraph(other, "logprob") for other in others], axis=1)
    tokens = by_paragraph(a, "tokens")
    test = paired_sums(differences(theirs, mine[:, None]), tokens, seed)
    return TextComparison(
        a=a.perplexity,
        b=others[0].perplexity if len(others) == 1 else _exp(np.mean([np.log(o.perplexity) for o in others])),
        ratio=_exp(test.difference),
        low=_exp(test.low),
        high=_exp(test.high),
        p=test.p,
        paragraphs=len(tokens),
        tokens=int(tokens.sum()),
        draws=test.draws,
        p_floor=test.p_floor,
    )


def by_paragraph(result: TextResult, column: str) -> np.ndarray:
    """The sum of a column over each paragraph's pieces."""
    return np.bincount(result.rows["paragraph"].to_numpy(), weights=result.rows[column])


def _exp(value: float) -> float:
    """exp without a warning where the result is infinite."""
    with np.errstate(over="ignore"):
        return float(np.exp(value))


def _values(lm: LanguageModel, rows: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """log P of tokens 1, 2, ... of each row.

    Logits that are no numbers give the token no probability: a model that computes NaN predicts nothing.
    """
    with torch.no_grad():
        picked, _ = token_logprobs(lm, rows, padded=True)
    values = picked.nan_to_num(nan=-torch.inf, neginf=-torch.inf).double().cpu().numpy()
    return [values[b, : len(row) - 1] for b, row in enumerate(rows)]
