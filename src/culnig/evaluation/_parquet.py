"""Rows and what they are of, in one Parquet file: the description is JSON under the key `culnig` of its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from culnig.errors import DataError
from culnig.files import atomic_path, require_file


def write_rows(path: Path | str, rows: pd.DataFrame, meta: dict[str, Any]) -> None:
    """Write rows and their description, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"culnig": json.dumps(meta, ensure_ascii=False).encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = require_file(path, f"{what} (.parquet)")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from error
    meta = json.loads((table.schema.metadata or {}).get(b"culnig", b"null"))
    if meta is None or not needed <= set(table.column_names):
        raise DataError(f"{path}: not {what}; `culnig {verb}` writes such files")
    return table.to_pandas(), meta
