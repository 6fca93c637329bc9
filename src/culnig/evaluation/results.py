"""EvalResult: a row an item, from which every figure can be computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culnig.data import Item, items_hash
from culnig.data.load import OLD_BENCHMARKS
from culnig.errors import DataError, UsageError
from culnig.evaluation.judging import leads, rejudged
from culnig.prompts import PromptPolicy, template_hash
from culnig.sealed import load_rows, read_rows_meta, save_rows, unreadable
from culnig.showing import brief, show
from culnig.versions import versions

if TYPE_CHECKING:
    from culnig.models import LanguageModel

EVALUATION_VERSION = 1
"""Version of how answers are judged; raise it where the same items and model would give other results."""

COLUMNS = {
    "id": "item id",
    "benchmark": "benchmark",
    "country": "country or other group",
    "topic": "topic",
    "variant": "option draw",
    "wording": "prompt wording",
    "gold": "index of the gold option",
    "calibration": "what was taken off the options' log-probabilities: none, length, pmi, contrast (`prompts.calibration`)",
    "prediction": "index of the predicted option; mcf without calibration: -1 where the greedy token is none of the labels",
    "correct": "prediction == gold; mcf without calibration: over the whole vocabulary, else among the options",
    "prediction_among_options": "index of the most probable option, calibrated",
    "correct_among_options": "prediction_among_options == gold",
    "option_logprobs": "log-probability of each option's text or label after the prompt, over the vocabulary",
    "p_gold": "probability of the gold answer; mcf without calibration: over the vocabulary, else among the options, calibrated",
    "log_odds": "log-odds of the gold option against the other options together, nats, calibrated",
    "margin": "calibrated log-probability of the gold option minus the mean of the others', nats",
    "option_lengths": "characters of each option",
    "pmi_offsets": "log-probability of each option after the prompt without the question; null where not measured",
    "contrast_offsets": "mean log-probability of each option after the prompt about other countries; null likewise",
    "greedy": "mcf alone: index of the label that is the most probable next token, -1 where none is",
    "alignment": "items on a numeric scale alone: how near the predicted step is to the gold one, 0 to 100",
}
FORMAT = 2
"""Format of result files; in format 1 the benchmark `ability` has its old name."""
METRICS = ("correct", "correct_among_options", "p_gold", "log_odds", "margin")
DERIVED = ("outside_options", "option_logmass", "contrast_margin", "prior_correct", "lead")
"""What else can be compared; see `EvalResult.values`."""
SCALE_METRIC = "alignment"
"""A further metric, of items on a numeric scale."""


class EvalResult:
    """Per-item results of one evaluation.

    Attributes:
        rows: a data frame, one row for each item and wording; columns as in `COLUMNS`.
        meta: model, data, prompt policy, intervention and versions.
    """

    def __init__(self, rows: pd.DataFrame, meta: dict[str, Any] | None = None) -> None:
        self.rows = rows
        self.meta = meta or {}

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"EvalResult({len(self)} rows, accuracy {self.accuracy:.1%})"

    def _repr_html_(self) -> str:
        return brief("result", self)

    def show(self, *, before: EvalResult | None = None, by: str = "country") -> None:
        """Show in Jupyter the accuracy by country, or what changed since another result; elsewhere, print it.

        Args:
            before: a result of the same items in another state of the model; then the paired change is shown.
            by: column that splits the rows ("country", "topic", "benchmark").

        Raises:
            UsageError: no such column, or results of different items.
        """
        show("result", self, before=before, by=by)

    @property
    def accuracy(self) -> float:
        """Share of rows answered correctly, 0 to 1."""
        return float(self.rows["correct"].mean())

    def values(self, metric: str) -> np.ndarray:
        """A metric of every row, float64 [rows].

        `METRICS` are columns, and so is `alignment` for items on a scale.  `outside_options` is 1 where the greedy token is none of the labels, else 0.
        `option_logmass` is log(sum over the options of exp(option_logprobs)), in nats: how much of the vocabulary's
        probability the options get together; in cf, where options are texts, it falls when a text becomes less likely,
        for whatever reason.
        `contrast_margin` is the margin under the calibration `contrast`, whichever the result has: by how much naming the
        country lifts the gold option above the others, in nats.  `prior_correct` is 1 where the gold option is the most
        probable one without the question.
        `lead` is the calibrated log-probability of the gold option minus that of the best other, in nats.

        Raises:
            UsageError: an unknown metric, or `outside_options` of a cf result, where no answer can lie outside.
        """
        if metric == "margin" and metric not in self.rows:
            return _margins(self.rows)  # a file of an earlier version, without calibration
        if metric in METRICS or (metric == SCALE_METRIC and metric in self.rows):
            return self.rows[metric].to_numpy(dtype=float)
        if metric == "option_logmass":
            return by_size(self.rows["option_logprobs"], lambda places, values: np.logaddexp.reduce(values, axis=1))
        if metric == "lead":
            return leads(self.rows)
        if metric == "contrast_margin":
            return rejudged(self.rows, "contrast", mcf=False)["margin"].to_numpy(dtype=float)
        if metric == "prior_correct":
            self._check_offsets("pmi_offsets", "pmi")
            gold = self.rows["gold"].to_numpy()
            return by_size(self.rows["pmi_offsets"], lambda places, values: values.argmax(axis=1) == gold[places])
        if metric != "outside_options":
            raise UsageError(f"unknown metric '{metric}'; there are {', '.join((*METRICS, *DERIVED))}")
        if self.meta.get("formulation") != "mcf":
            raise UsageError("outside_options is of mcf results only: in cf an option is always chosen")
        return (self.rows["greedy" if "greedy" in self.rows else "prediction"] == -1).to_numpy(dtype=float)

    def has_offsets(self, kind: str) -> bool:
        """Whether every row has the offsets of a calibration (pmi, contrast)."""
        column = f"{kind}_offsets"
        return column in self.rows and bool(self.rows[column].notna().all())

    def _check_offsets(self, column: str, kind: str) -> None:
        if column not in self.rows:
            raise UsageError(f"the rows have no column {column}; evaluate with --calibration {kind}")

    def with_offsets(self, offsets: pd.DataFrame) -> EvalResult:
        """Add offsets that were measured afterwards.

        Args:
            offsets: columns benchmark, id, wording, option_lengths, pmi_offsets, contrast_offsets.

        Raises:
            UsageError: offsets of other items.
        """
        keys = ["benchmark", "id", "wording"]
        columns = ["option_lengths", "pmi_offsets", "contrast_offsets"]
        rows = self.rows.drop(columns=[c for c in columns if c in self.rows])
        joined = rows.merge(offsets[keys + columns], on=keys, how="left", validate="many_to_one")
        if joined["option_lengths"].isna().any():
            missing = joined.loc[joined["option_lengths"].isna(), "id"].iloc[0]
            raise UsageError(f"no offsets for the item {missing!r}; they were measured on other items")
        return type(self)(joined, self.meta)

    @property
    def calibration(self) -> str:
        """The calibration that was asked for; rows say what they got."""
        return str((self.meta.get("prompts") or {}).get("calibration", "none"))

    def calibrated(self, calibration: str) -> EvalResult:
        """Judge the same rows under another calibration, from the saved log-probabilities and offsets.

        Raises:
            UsageError: an unknown calibration, or rows without what it needs.
        """
        if calibration == self.calibration:
            return self
        rows = rejudged(self.rows, calibration, mcf=self.meta.get("formulation") == "mcf")
        prompts = (self.meta.get("prompts") or {}) | {"calibration": calibration}
        return type(self)(rows, self.meta | {"prompts": prompts})

    def by(self, *columns: str) -> pd.DataFrame:
        """Rows, accuracy, P(gold), log-odds and margin for each value of some columns.

        Raises:
            UsageError: no such column.
        """
        if missing := [column for column in columns if column not in self.rows]:
            raise UsageError(f"no column {', '.join(missing)}; there are {', '.join(self.rows.columns)}")
        grouped = self.rows.assign(margin=self.values("margin")).groupby(list(columns), sort=True)
        return grouped.agg(
            rows=("correct", "size"),
            accuracy=("correct", "mean"),
            accuracy_among_options=("correct_among_options", "mean"),
            p_gold=("p_gold", "mean"),
            log_odds=("log_odds", "mean"),
            margin=("margin", "mean"),
        ).reset_index()

    def save(self, path: Path | str) -> None:
        """Write Parquet, with `meta` as JSON under the key `culnig` of the file's metadata."""
        write_rows(path, self.rows, self.meta)

    @classmethod
    def load(cls, path: Path | str) -> EvalResult:
        """Read a result file.

        Raises:
            UsageError: no such file.
            DataError: not a result file.
        """
        return cls(*read_rows(path, "an evaluation result", {"id", "correct"}, "eval"))


def by_size(lists: pd.Series, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Compute a number of each list of numbers, float64 [rows]; NaN where there is no list.

    Args:
        lists: the lists, None where there is none.
        compute: is called with the places [n] of all lists of one length, and with these lists, float64 [n, length].
    """
    values = lists.to_numpy(dtype=object)
    sizes = np.fromiter((-1 if each is None or np.ndim(each) == 0 else len(each) for each in values), int, len(values))
    found = np.full(len(values), np.nan)
    for size in np.unique(sizes[sizes >= 0]):
        places = np.flatnonzero(sizes == size)
        found[places] = compute(places, np.array(values[places].tolist(), dtype=float))
    return found


def _margins(rows: pd.DataFrame) -> np.ndarray:
    """Gold log-probability minus the mean of the others, of rows without calibration; NaN where there are no others."""
    made = []
    for logprobs, gold in zip(rows["option_logprobs"], rows["gold"], strict=True):
        others = np.delete(np.asarray(logprobs, dtype=float), gold)
        made.append(logprobs[gold] - others.mean() if len(others) else np.nan)
    return np.array(made, dtype=float)


def write_rows(path: Path | str, rows: pd.DataFrame, meta: dict[str, Any]) -> None:
    """Write rows and their description, atomically."""
    save_rows(path, rows, {"format": FORMAT} | meta)


def read_meta(path: Path | str) -> dict[str, Any]:
    """Read the description of a result file, without its rows.

    Raises:
        DataError: not a result file, or a damaged one.
    """
    meta = read_rows_meta(path, "a result file")
    if not meta:
        raise DataError(f"{path}: not a result file of culnig")
    return meta


def read_rows(path: Path | str, what: str, needed: set[str], verb: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read rows and their description.

    Args:
        path: the file.
        what: what it should be, for messages ("an evaluation result").
        needed: columns it must have.
        verb: the command that writes such files.

    Raises:
        UsageError: no such file.
        DataError: not Parquet, or another kind of file.
    """
    table, meta = load_rows(path, what)
    if not meta or not needed <= set(table.column_names):
        raise DataError(f"{path}: not {what}; `culnig {verb}` writes such files")
    with unreadable(path, what):
        rows = table.to_pandas()
    if meta.get("format", 1) < FORMAT and "benchmark" in rows:
        rows["benchmark"] = rows["benchmark"].replace(OLD_BENCHMARKS)
    return rows, meta


def describe(lm: LanguageModel, **made_from: Any) -> dict[str, Any]:
    """Return what every result says of the model, of what it was made from, and of the versions."""
    return {**lm.description, "evaluation_version": EVALUATION_VERSION, **made_from, "versions": versions()}


def describe_items(lm: LanguageModel, items: Sequence[Item], policy: PromptPolicy) -> dict[str, Any]:
    """As `describe`, for results of items: their hash, that of the templates, and the prompt policy."""
    return describe(
        lm,
        data_hash=items_hash(items),
        template_hash=template_hash(items, policy),
        formulation=policy.formulation,
        prompts=policy.resolved(lm.tokenizer),
        num_items=len(np.unique(np.fromiter((hash((item.benchmark, item.id)) for item in items), np.int64))),
    )
