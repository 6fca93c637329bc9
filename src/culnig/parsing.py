"""Parse JSON and YAML that others wrote: whatever the text holds, the outcome is a value or one kind of error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from culnig.errors import UsageError

MOST_NODES = 100_000
"""Values that a YAML text may stand for, with every alias written out.  The largest file of ours has 4,000."""
MOST_YAML = 10_000_000
"""Characters of a YAML text."""


class NotParsed(ValueError):
    """A text that does not hold what it should; the message says why, and where if that is known."""


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


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        pairs: makes an object of its keys and values; None makes dictionaries.

    Raises:
        json.JSONDecodeError: not JSON, nested too deeply, a number of more digits than Python converts, or a text that
            holds half of a surrogate pair, which no file can store.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", "", 0) from error
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError(f"not UTF-8 text (byte {error.start})", "", 0) from error
    except ValueError as error:
        if type(error) is not ValueError:  # raised by `pairs`
            raise
        raise json.JSONDecodeError("a number with too many digits", "", 0) from error
    escape = "\\ud" if isinstance(text, str) else b"\\ud"
    if escape in text.lower() and (half := _half_pair(value)):  # type: ignore[operator]
        raise json.JSONDecodeError(f"half of a surrogate pair ({half}) in a text", "", 0)
    return value


def _half_pair(value: Any) -> str:
    """Return the escape of a lone surrogate in a value; "" if there is none."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: plain values alone, no objects.

    Raises:
        NotParsed: not YAML, nested too deeply, too long, or small only by aliases of aliases (a "YAML bomb").
    """
    import yaml

    if len(text) > MOST_YAML:
        raise NotParsed(f"{len(text):,} characters of YAML; at most {MOST_YAML:,} are read")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if (size := _written_out(node, {})) > MOST_NODES:
            raise NotParsed(f"its aliases stand for {size:,} values; at most {MOST_NODES:,} are read")
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise NotParsed(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotParsed("nested too deeply") from error
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        if isinstance(error, NotParsed):
            raise
        raise NotParsed(f"a value cannot be read ({' '.join(str(error).split())[:120]})") from error
    finally:
        if loader is not None:
            loader.dispose()
    if _half_pair(value):
        raise NotParsed("half of a surrogate pair in a text")
    return value


def _written_out(node: Any, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for once its aliases are written out.

    Raises:
        NotParsed: a node contains itself.
    """
    import yaml

    known = sizes.get(id(node))
    if known == 0:
        raise NotParsed("an alias that contains itself")
    if known is not None:
        return known
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_written_out(each, sizes) for each in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_written_out(key, sizes) + _written_out(value, sizes) for key, value in node.value)
    sizes[id(node)] = size
    return size
