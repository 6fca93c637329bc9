"""Write files so that a final name never holds an incomplete file, and read files with helpful errors."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from culnig.errors import DataError, UsageError

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


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` if the body succeeds, delete it otherwise.

    Raises:
        UsageError: the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {path.parent}: {error.strerror}; choose another --out") from error
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno in (13, 28, 30):
            raise UsageError(f"cannot write {path}: {error.strerror}; choose another place") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path | str) -> None:
    """Raise an error now, not after an hour of work, if `path` cannot be written.

    Raises:
        UsageError: as `atomic_path` would raise at the end.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file to write")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".culnig-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_table(stem: Path, frame: pd.DataFrame) -> None:
    """Write a data frame as `stem`.parquet and `stem`.csv, atomically."""
    with atomic_path(stem.with_name(f"{stem.name}.parquet")) as temporary:
        frame.to_parquet(temporary, index=False)
    with atomic_path(stem.with_name(f"{stem.name}.csv")) as temporary:
        frame.to_csv(temporary, index=False)


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file, atomically; see `json_text` for NaN, infinity and numpy's numbers."""
    write_text(path, json_text(value) + "\n")


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
        DataError: it is not JSON; the message gives line and column.
    """
    path = Path(path)
    require_file(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); is this {what}?") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg})") from error


def require_file(path: Path | str, what: str) -> Path:
    """Return the path if it is a file.

    Raises:
        UsageError: the path does not exist, or is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not {what}")
    if not path.exists():
        raise UsageError(f"no such file: {path} ({what} was expected)")
    return path


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
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


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
