"""Read rows from CSV, TSV, JSON, JSON Lines and Parquet files, each with its place in the file.

Every defect of a row is an error that names file and row; no row is skipped.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from culnig.data.countries import resolve
from culnig.errors import DataError, UsageError
from culnig.parsing import parse_json
from culnig.sealed import unreadable

_NOT_DATA = {
    "<!doctype html": "an HTML page (a web page was saved instead of the file)",
    "<html": "an HTML page (a web page was saved instead of the file)",
    "version https://git-lfs": "a Git LFS pointer, not the file itself (run `git lfs pull`)",
}
_MARKUP = re.compile(
    r"</?(?:p|br|b|i|u|em|strong|a|div|span|ul|ol|li|table|tr|td|th|h[1-6]|img|font|script|style|sup|sub)\b[^<>]*>"
    r"|&(?:amp|nbsp|lt|gt|quot|apos|#x?[0-9a-f]+);",
    re.IGNORECASE,
)
csv.field_size_limit(1 << 28)


class Row(NamedTuple):
    """One row.

    Attributes:
        where: file and line, or hub id and row; every message about the row begins with it.
        table: name of its file without suffix, or split of the hub.
        values: column -> value.
    """

    where: str
    table: str
    values: Mapping[str, Any]

    def get(self, column: str) -> Any:
        """Return the value of a column.

        Raises:
            DataError: this row has no such column.
        """
        if column not in self.values:
            have = ", ".join(map(str, self.values))
            raise DataError(f"{self.where}: no column '{column}'; there are: {have}")
        return self.values[column]

    def text(self, column: str) -> str:
        """Return a text, which must not be empty; convert numbers to text.

        Raises:
            DataError: the value is missing, empty, or not a text.
        """
        value = self.get(column)
        if value is None or isinstance(value, list | dict) or not str(value).strip():
            raise DataError(f"{self.where}: '{column}' is empty or not a text: {value!r}")
        return str(value).strip()

    def label(self, column: str, labels: Mapping[str, int]) -> int:
        """Return the number that a label stands for.

        Raises:
            DataError: the label is not among `labels`.
        """
        value = self.text(column)
        if value not in labels:
            raise DataError(f"{self.where}: unknown label {value!r} in '{column}'; known: {', '.join(labels)}")
        return labels[value]

    def country(self, column: str) -> str:
        """Return the canonical name of a country.

        Raises:
            DataError: the country is not in the table of `countries.py`.
        """
        return country_name(self.text(column), self.where)


def markup_in(text: str) -> str | None:
    """Return the first HTML tag or entity in a text, or None."""
    found = _MARKUP.search(text)
    return found[0] if found else None


def country_name(spelling: str, where: str) -> str:
    """Return the canonical name of a country that a data file names.

    Raises:
        DataError: the country is unknown; the message gives the place.
    """
    try:
        return resolve(spelling).name
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error


def read_table(path: Path, columns: tuple[str, ...] = ()) -> Iterator[Row]:
    """Yield the rows of a file; the suffix selects the reader.

    Args:
        path: the file.
        columns: names of the columns of a CSV or TSV file that has no header; () if the file has one.

    Raises:
        DataError: the suffix is unknown or the file is broken; the message gives file and row.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: cannot read '{path.suffix}' files; known: {', '.join(_READERS)}")
    return reader(path, columns) if columns and reader in (_read_csv, _read_tsv) else reader(path)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        DataError: the file is empty, an HTML page, a Git LFS pointer, or in another encoding (with the line).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8") from error
    beginning = text[:200].lstrip().lower()
    for start, what in _NOT_DATA.items():
        if beginning.startswith(start):
            raise DataError(f"{path}:1: this is {what}; fetch it again")
    if not beginning and not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text


def _read_csv(path: Path, columns: tuple[str, ...] = ()) -> Iterator[Row]:
    return _delimited(path, columns, delimiter=",", strict=True)


def _read_tsv(path: Path, columns: tuple[str, ...] = ()) -> Iterator[Row]:
    # GLUE's files contain unescaped quotation marks.
    return _delimited(path, columns, delimiter="\t", quoting=csv.QUOTE_NONE)


def _delimited(path: Path, columns: tuple[str, ...], **dialect: Any) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), **dialect)
    header = list(columns)
    line = 1
    try:
        for fields in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not fields:
                continue
            if not header:
                header = [name.strip() for name in fields]
                if len(set(header)) < len(header):
                    raise DataError(f"{where}: two columns have the same name: {', '.join(header)}")
                continue
            if len(fields) != len(header):
                expected = f"there must be {len(header)}" if columns else f"the header has {len(header)}"
                raise DataError(f"{where}: {len(fields)} fields, {expected}")
            yield Row(where, path.stem, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}:{line}: {error}") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                values = parse_json(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from error
            yield _json_row(f"{path}:{number}", path.stem, values)


def _read_json(path: Path) -> Iterator[Row]:
    """Read a list of objects, or an object of objects, whose keys become the column `ID` (BLEnD's annotations)."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):  # JSON would silently keep the last value of the key
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{path} row {twice}: the key '{twice}' occurs more than once")
        return values

    try:
        data = parse_json(read_text(path), once)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    if isinstance(data, list):
        for number, values in enumerate(data, start=1):
            yield _json_row(f"{path} row {number}", path.stem, values)
    elif isinstance(data, dict):
        for key, values in data.items():
            row = _json_row(f"{path} row {key}", path.stem, values)
            yield Row(row.where, row.table, {"ID": key, **row.values})
    else:
        raise DataError(f"{path}: a list of JSON objects is expected, this is a {type(data).__name__}")


def _json_row(where: str, table: str, values: Any) -> Row:
    if not isinstance(values, dict):
        raise DataError(f"{where}: a JSON object is expected, this is a {type(values).__name__}")
    return Row(where, table, values)


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    number = 0
    with unreadable(path, "a Parquet file"):
        batches = iter(pq.ParquetFile(path).iter_batches())
    while True:
        with unreadable(path, "a Parquet file"):
            batch = next(batches, None)
            rows = batch.to_pylist() if batch is not None else []
        if batch is None:
            return
        for values in rows:
            number += 1
            yield Row(f"{path} row {number}", path.stem, values)


_READERS: dict[str, Callable[..., Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
