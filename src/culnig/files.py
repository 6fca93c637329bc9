"""Write files so that a final name never holds an incomplete file, and read files with helpful errors."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from culnig.errors import DataError, UsageError
from culnig.parsing import parse_json
from culnig.parsing import require_file as require_file
from culnig.sealed import save_rows
from culnig.writing import atomic_path as atomic_path
from culnig.writing import check_writable as check_writable
from culnig.writing import staged_folder as staged_folder

if TYPE_CHECKING:
    import pandas as pd


def cache_dir() -> Path:
    """Return the user's cache folder: `$CULNIG_CACHE` if set, otherwise the platform's usual place."""
    if override := os.environ.get("CULNIG_CACHE"):
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path("culnig")


def data_dir() -> Path:
    """Return the folder of benchmark files: `$CULNIG_DATA` if set, otherwise `data` in the cache folder."""
    override = os.environ.get("CULNIG_DATA")
    return Path(override) if override else cache_dir() / "data"


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_table(stem: Path, frame: pd.DataFrame) -> None:
    """Write a data frame as `stem`.parquet and `stem`.csv, atomically."""
    save_rows(stem.with_name(f"{stem.name}.parquet"), frame)
    write_csv(stem.with_name(f"{stem.name}.csv"), frame)


def write_csv(path: Path | str, frame: pd.DataFrame) -> None:
    """Write a data frame as CSV, atomically, with no cell that a spreadsheet would run as a formula.

    A text that begins as a formula does (=, +, -, @, tab, carriage return), and is no number, gets an apostrophe in front.
    """
    shown = frame.rename(columns=_harmless)
    for place, kind in enumerate(shown.dtypes):
        if kind.kind not in "biufcmM":
            shown.isetitem(place, shown.iloc[:, place].map(_harmless))
    with atomic_path(path) as temporary:
        shown.to_csv(temporary, index=False)


_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.,]+(?:[eE][+-]?\d+)?(?: ?%)?$)")


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


CHECKSUM = "checksum"
"""Last field of a JSON object that we write: the hash of all the others, which `read_json` checks."""
_SUM = re.compile(r"sha256:[0-9a-f]{64}")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file, atomically; see `json_text` for NaN, infinity and numpy's numbers.

    An object gets a last field `checksum`, which `read_json` checks and takes away.
    """
    value = _plain(value)
    if isinstance(value, dict):
        value = _without_sum(value)
        value[CHECKSUM] = _sum_of(value)
    write_text(path, json_text(value) + "\n")


def _without_sum(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != CHECKSUM}


def _sum_of(value: dict[str, Any]) -> str:
    """Return the checksum of an object: of what JSON makes of it, so that a file that was read has it too."""
    return f"sha256:{sha256_json(json.loads(json.dumps(value)))}"


def _checked(path: Path, value: Any) -> Any:
    """Return a value that was read, without its checksum.

    Raises:
        DataError: the checksum is wrong.
    """
    if not isinstance(value, dict):
        return value
    stated = value.get(CHECKSUM)
    if stated is None:
        last = next(reversed(value.values())) if value else None
        if not (isinstance(last, str) and _SUM.fullmatch(last)):
            return value  # a file of an earlier version, or of somebody else
    rest = _without_sum(value)
    if stated != _sum_of(rest):
        raise DataError(
            f"{path}: damaged or changed by hand: it does not have its `checksum`; make it again, or delete that field if you changed it"
        )
    return rest


def json_text(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as JSON that every reader accepts.

    JSON has neither NaN nor infinity.  NaN ("not measured") becomes null, and infinity becomes the string "Infinity" or
    "-Infinity".  Numbers and arrays of numpy become plain ones.

    Args:
        value: the value to write.
        default: converts any other object to a JSON value; None refuses such objects.
    """
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False, default=default)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # a number or an array of numpy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def read_json(path: Path | str, what: str) -> Any:
    """Parse a JSON file.

    Raises:
        UsageError: the file does not exist.
        DataError: it is not JSON, or its checksum is wrong; the message gives line and column.
    """
    path = Path(path)
    require_file(path, what)
    try:
        return _checked(path, parse_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); is this {what}?") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg})") from error


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(stream)


def _sha256(stream: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hash of a value's canonical JSON; equal values give equal hashes on every machine."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def sha256_json_list(values: Iterable[Any]) -> str:
    """Return `sha256_json` of the list of the values, which are taken one at a time."""
    digest = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        digest.update(b"," + _canonical(value) if number else _canonical(value))
    digest.update(b"]")
    return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


_FORBIDDEN = frozenset('/\\:*?"<>|%')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)


def safe_name(text: str) -> str:
    """Return the file name of a group, a set or a condition; `unsafe_name` reverses it.

    Characters that a file system forbids or changes become %XX.  These are separators, `%` and control characters; dots
    at the ends; the first letter of names that Windows reserves; and letters that Unicode normalisation would
    replace.  Any other text, such as "South Korea" or "sweep-t=0.01", is its own name.
    """
    last = len(text) - 1

    def risky(place: int, char: str) -> bool:
        at_an_end = (place == 0 and char in ". ") or (place == last and char in ". ")
        altered = unicodedata.combining(char) > 0 or unicodedata.normalize("NFC", char) != char
        return char in _FORBIDDEN or at_an_end or altered or (place == 0 and bool(_RESERVED.match(text)))

    encoded = (
        _percent(char) if risky(place, char) or not char.isprintable() else char for place, char in enumerate(text)
    )
    return "".join(encoded) or "%"


def unsafe_name(name: str) -> str:
    """Return the text from which `safe_name` made a file name."""
    return "" if name == "%" else unquote(name, errors="surrogatepass")


def safe_names(texts: Iterable[str]) -> dict[str, str]:
    """Return the file name of each text.

    Raises:
        UsageError: two texts differ only in case; macOS and Windows would keep only one of their files.
    """
    named: dict[str, str] = {}
    taken: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        named[text] = safe_name(text)
        other = taken.setdefault(named[text].casefold(), text)
        if other != text:
            raise UsageError(
                f"'{other}' and '{text}' differ in case alone, and files are named after them; use one spelling"
            )
    return named


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
