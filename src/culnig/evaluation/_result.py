"""EvalResult: a row an item, from which every figure can be computed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from culnig.errors import DataError, UsageError
from culnig.files import atomic_path, require_file

COLUMNS = {
    "id": "item id",
    "benchmark": "benchmark",
    "country": "country or other group",
    "topic": "topic",
    "variant": "option draw",
    "wording": "prompt wording",
    "gold": "index of the gold option",
    "prediction": "index of the predicted option; -1 where the greedy token is none of the labels (mcf)",
    "correct": "prediction == gold; mcf: over the whole vocabulary, cf: among the options",
    "prediction_among_options": "index of the most probable option",
    "correct_among_options": "prediction_among_options == gold",
    "option_logprobs": "log-probability of each option's text or label after the prompt, over the vocabulary",
    "p_gold": "probability of the gold answer; mcf: over the vocabulary, cf: among the options",
    "log_odds": "log-odds of the gold option against the other options together",
    "alignment": "items on a numeric scale alone: how near the predicted step is to the gold one, 0 to 100",
}
METRICS = ("correct", "correct_among_options", "p_gold", "log_odds")
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

    @property
    def accuracy(self) -> float:
        """Share of rows answered correctly, 0 to 1."""
        return float(self.rows["correct"].mean())

    def by(self, *columns: str) -> pd.DataFrame:
        """Rows, accuracy, P(gold) and log-odds for each value of some columns.

        Raises:
            UsageError: no such column.
        """
        if missing := [column for column in columns if column not in self.rows]:
            raise UsageError(f"no column {', '.join(missing)}; there are {', '.join(self.rows.columns)}")
        grouped = self.rows.groupby(list(columns), sort=True)
        return grouped.agg(
            rows=("correct", "size"),
            accuracy=("correct", "mean"),
            accuracy_among_options=("correct_among_options", "mean"),
            p_gold=("p_gold", "mean"),
            log_odds=("log_odds", "mean"),
        ).reset_index()

    def save(self, path: Path | str) -> None:
        """Write Parquet, with `meta` as JSON under the key `culnig` of the file's metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.rows, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), b"culnig": json.dumps(self.meta, ensure_ascii=False).encode()}
        with atomic_path(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)

    @classmethod
    def load(cls, path: Path | str) -> EvalResult:
        """Read a result file.

        Raises:
            UsageError: no such file.
            DataError: not a result file.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = require_file(path, "an evaluation result (.parquet)")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from error
        meta = json.loads((table.schema.metadata or {}).get(b"culnig", b"null"))
        if meta is None or not {"id", "correct"} <= set(table.column_names):
            raise DataError(f"{path}: not an evaluation result; `culnig eval` writes such files")
        return cls(table.to_pandas(), meta)
