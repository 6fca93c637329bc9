"""Files of arrays and rows with a description and a checksum over every byte.

The description is one JSON object in the file's own header (safetensors) or footer (Parquet), under `culnig`.  Its field
`checksum` holds the SHA-256 of the whole file, taken while the field's digits were zeros.  `sealed` says that there is
one, so that a file whose checksum was damaged away is no older file.  Files without either are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.errors import DataError
from culnig.parsing import parse_json, require_file
from culnig.writing import atomic_path, explained_writing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEY = "culnig"
"""Where header and footer keep the description."""
_ZEROS = "sha256:" + "0" * 64
_SUM = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK = 1 << 20
_known: dict[str, tuple[int, int, int]] = {}
"""File that was verified -> its inode, size and time of change then."""


def save_tensors(path: Path | str, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write arrays of numpy or tensors of torch as safetensors, atomically.

    Raises:
        WriteError: the file cannot be written.
    """
    first = next(iter(tensors.values()), None)
    if hasattr(first, "detach"):
        from safetensors.torch import save_file as save
    else:
        from safetensors.numpy import save_file as save  # type: ignore[assignment]
    # The checksum comes first: a text of the description that looks like one stands behind it.
    header = {KEY: json.dumps({"checksum": _ZEROS, "sealed": True, **meta}, ensure_ascii=False)}
    with atomic_path(path) as temporary:
        save(dict(tensors), str(temporary), metadata=header)
        _seal(temporary, first=True)


def save_rows(path: Path | str, rows: pd.DataFrame | pa.Table, meta: Mapping[str, Any] | None = None) -> None:
    """Write rows as Parquet, atomically.

    Raises:
        WriteError: the file cannot be written.
    """
    import pyarrow as pa

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    _write_sealed(path, table.schema, [table], meta)


def save_row_parts(path: Path | str, parts: Sequence[Path], meta: Mapping[str, Any] | None = None) -> None:
    """Write the rows of several Parquet files as one, atomically; one file is in memory at a time.

    Columns that a file lacks, or has no values of, are filled with nulls.

    Raises:
        WriteError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="default")

    def table(part: Path) -> pa.Table:
        found = pq.read_table(part)
        lacking = {
            field.name: pa.nulls(len(found), field.type) for field in schema if field.name not in found.schema.names
        }
        for name, nulls in lacking.items():
            found = found.append_column(name, nulls)
        return found.select(schema.names).cast(schema)

    _write_sealed(path, schema, map(table, parts), meta)


def _write_sealed(
    path: Path | str, schema: pa.Schema, tables: Iterable[pa.Table], meta: Mapping[str, Any] | None
) -> None:
    """Write tables of one schema as one Parquet file with a description and a checksum."""
    import pyarrow.parquet as pq

    made = json.dumps({"sealed": True, **(meta or {}), "checksum": _ZEROS}, ensure_ascii=False)
    described = schema.with_metadata({**(schema.metadata or {}), KEY.encode(): made.encode()})
    with atomic_path(path) as temporary:
        with pq.ParquetWriter(temporary, described) as writer:
            for table in tables:
                writer.write_table(table.replace_schema_metadata(described.metadata))
        _seal(temporary, first=False)


def tensor_meta(path: Path | str, what: str) -> dict[str, Any] | None:
    """Return the description of a safetensors file, once its checksum is found right; None if it has no description.

    Args:
        path: the file.
        what: what it should be, for messages ("a score file").

    Raises:
        UsageError: no such file.
        DataError: not a safetensors file, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    path = require_file(path, f"{what} (.safetensors)")
    try:
        with safe_open(str(path), framework="numpy") as archive:
            meta = parse_json((archive.metadata() or {}).get(KEY, "null"))
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise DataError(f"{path}: not {what}, or damaged ({' '.join(str(error).split())})") from error
    return _checked(path, meta, first=True)


def read_rows_meta(path: Path | str, what: str) -> dict[str, Any] | None:
    """Return the description of a Parquet file, once its checksum is found right; None if it has none.

    Raises:
        UsageError: no such file.
        DataError: not a Parquet file, or a damaged one.
    """
    import pyarrow.parquet as pq

    path = require_file(path, f"{what} (.parquet)")
    with unreadable(path, "a Parquet file"):
        # Not of the schema: Arrow keeps a second copy of the description there, from before the checksum was known.
        metadata = pq.read_metadata(path).metadata or {}
    return _of_schema(path, metadata)


def load_rows(path: Path | str, what: str) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return rows and their description, once the checksum is found right.

    Raises:
        UsageError: no such file.
        DataError: not a Parquet file, or a damaged one.
    """
    import pyarrow.parquet as pq

    meta = read_rows_meta(path, what)
    with unreadable(path, "a Parquet file"):
        return pq.read_table(path), meta


def load_table(path: Path | str, what: str) -> pd.DataFrame:
    """Return rows as a data frame, once the checksum is found right; errors are those of `load_rows`."""
    table, _ = load_rows(path, what)
    with unreadable(path, what):
        return table.to_pandas()


def load_tensors(path: Path | str, what: str) -> dict[str, Any]:
    """Return the arrays of a safetensors file, once its checksum is found right.

    Raises:
        UsageError: no such file.
        DataError: not a safetensors file, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    tensor_meta(path, what)
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not {what}, or damaged ({error})") from error


class unreadable:
    """Turn whatever a library raises about a damaged file within the block into one line."""

    def __init__(self, path: Path | str, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        """Nothing has to be set up."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise a DataError for the library's error."""
        import pyarrow as pa

        # A damaged footer or page can make Arrow raise nearly anything.
        damaged = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, TypeError, MemoryError)
        if isinstance(error, damaged):
            said = " ".join(str(error).split())[:200]
            raise DataError(f"{self._path}: not {self._what}, or damaged ({said})") from error


def _of_schema(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any] | None:
    try:
        meta = parse_json(metadata.get(KEY.encode(), b"null"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: damaged: its description is not JSON ({error.msg})") from error
    return _checked(path, meta, first=False)


def _checked(path: Path, meta: Any, *, first: bool) -> dict[str, Any] | None:
    """Return a description without the fields of the seal.

    Raises:
        DataError: the checksum is wrong, or has gone.
    """
    if not isinstance(meta, dict):
        return None
    rest = {key: value for key, value in meta.items() if key not in ("checksum", "sealed")}
    if len(rest) == len(meta):
        return rest  # a file of an earlier version
    stated = meta.get("checksum")
    if not (isinstance(stated, str) and _SUM.fullmatch(stated) and _right(path, stated, first)):
        raise DataError(f"{path}: damaged: its bytes do not have its checksum; delete it, and make it again")
    return rest


def _seal(path: Path, *, first: bool) -> None:
    """Put the checksum of a file in the place of the zeros."""
    with explained_writing(path), path.open("r+b") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            token = _ZEROS.encode()
            place = content.find(token) if first else content.rfind(token)
        stream.seek(place)
        stream.write(_digest(path, place).encode())


def _right(path: Path, stated: str, first: bool) -> bool:
    """Whether a file has the checksum that it states; a file that did, and has not changed since, is not read again."""
    seen = path.stat()
    state = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    name = str(path.absolute())
    if _known.get(name) == state:
        return True
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(stated.encode()) if first else content.rfind(stated.encode())
    if place < 0 or _digest(path, place) != stated:
        return False
    _known[name] = state
    return True


def _digest(path: Path, place: int) -> str:
    """Return the checksum of a file, taken as if the digits of the one at `place` were zeros."""
    digest = hashlib.sha256()
    begin, end = place, place + len(_ZEROS)
    position = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            low, high = max(begin, position) - position, min(end, position + len(block)) - position
            if low < high:
                zeros = _ZEROS.encode()[position + low - begin : position + high - begin]
                block = block[:low] + zeros + block[high:]
            digest.update(block)
            position += len(block)
    return f"sha256:{digest.hexdigest()}"
