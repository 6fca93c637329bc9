"""Read and write item files: one JSON object a line.

A row has one of three forms.  A question: `{"id","benchmark","country","question","options":[..],"answer":0,"topic"}`.
A ready-made prompt: `{"id","benchmark","country","prompt","target","options"?,"prefix"?}`.  A short answer: a question
or prompt with `{"language","answers":[{"texts":[..],"english"?:[..],"votes"?:1}]}`.  These fields are optional in every
row: `topic`, `variant`, `control`, `template`, `shuffle`, `scale`.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from culnig.data.countries import canonical
from culnig.data.items import Answer, Item
from culnig.errors import DataError
from culnig.files import require_file, sha256_json_list, write_text
from culnig.parsing import parse_json

HASHED_AS = {"ability": "general"}
"""Present name of a benchmark -> the name under which it is hashed."""
_TEXT_FIELDS = (
    "id",
    "benchmark",
    "country",
    "question",
    "topic",
    "variant",
    "prompt",
    "target",
    "prefix",
    "template",
    "language",
)
_KNOWN = {*_TEXT_FIELDS, "options", "answer", "control", "shuffle", "scale", "answers"}

_DEFAULTS = {
    "topic": "", "variant": "", "control": False, "prefix": "", "template": "question", "shuffle": False, "scale": None,
    "language": "",
}  # fmt: skip


def read_items(path: Path | str) -> list[Item]:
    """Read an item file.

    Raises:
        UsageError: the file does not exist.
        DataError: the file is empty or a row is broken; the message gives file, line and reason.
    """
    path = require_file(path, "an item file (JSON Lines)")
    items = [parse_line(line, f"{path}:{number}") for number, _, line in lines_of(path)]
    if not items:
        raise no_items(path)
    return items


def no_items(path: Path) -> DataError:
    """Return the error about a file without items."""
    return DataError(f"{path}: it has no items; one JSON object a line is expected")


def lines_of(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield each line that is not blank: its number from 1, the byte at which it begins, and its text.

    Raises:
        DataError: the file is not UTF-8 text.
    """
    with opened(path) as stream:
        number, start = 0, len(BOM_UTF8) if stream.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        stream.seek(start)
        for raw in stream:
            # Old Macs end lines with a carriage return alone.
            for part in raw.splitlines(keepends=True) if b"\r" in raw.rstrip(b"\r\n") else (raw,):
                number += 1
                try:
                    line = part.decode("utf-8")
                except UnicodeDecodeError as error:
                    place = start + error.start
                    raise DataError(f"{path}: not UTF-8 text (byte {place}); save it as UTF-8") from error
                if line.strip():
                    yield number, start, line
                start += len(part)


def opened(path: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        DataError: the system does not let us.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def parse_line(line: str, where: str) -> Item:
    """Return the item of a line; `where` is file and line, for messages.

    Raises:
        DataError: the line is no JSON object, or a field is missing, unknown or wrong.
    """
    try:
        row = parse_json(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON object is expected, this is a {type(row).__name__}")
    return item_of_row(row, where)


def item_of_row(row: dict[str, Any], where: str = "row") -> Item:
    """Return the item of a row; `item_to_row` gives the row back.

    Args:
        row: the JSON object.
        where: file and line, for messages.

    Raises:
        DataError: a field is missing, unknown or wrong.
    """
    if unknown := sorted(set(row) - _KNOWN):
        raise DataError(f"{where}: unknown field {', '.join(unknown)}; known: {', '.join(sorted(_KNOWN))}")
    for field in ("id", "benchmark", "country"):
        if row.get(field) in (None, ""):
            raise DataError(f"{where}: field '{field}' is missing or empty")
    texts: dict[str, Any] = {field: str(row[field]) for field in _TEXT_FIELDS if row.get(field) is not None}
    texts["country"] = canonical(texts["country"])
    flags = {field: row.get(field, False) for field in ("control", "shuffle")}
    for field, value in flags.items():
        if not isinstance(value, bool):
            raise DataError(f"{where}: {field} must be true or false, not {value!r}")
    options = _parse_options(row, where)
    if "answers" in row:
        if options or "target" in texts or not (texts.get("question") or texts.get("prompt")):
            raise DataError(f"{where}: a short answer needs a question or a prompt, and neither options nor target")
        answer = -1
    elif "prompt" in texts:
        if not texts.get("target"):
            raise DataError(f"{where}: a ready-made prompt needs a 'target'")
        answer = options.index(texts["target"]) if texts["target"] in options else -1
        if options and answer < 0:
            raise DataError(f"{where}: the target {texts['target']!r} is not among the options {list(options)}")
    else:
        answer = _parse_answer(row, options, where)
    scale = _parse_scale(row, options, where)
    return Item(
        **texts,
        options=options,
        answer=answer,
        control=flags["control"],
        shuffle=flags["shuffle"],
        scale=scale,
        answers=_parse_answers(row, where),
    )


def _parse_answers(row: dict[str, Any], where: str) -> tuple[Answer, ...]:
    """Return the answers that count as right, most votes first."""
    if "answers" not in row:
        return ()
    if not row.get("language"):
        raise DataError(f"{where}: a short answer needs its 'language' (en, ko, ..)")
    found = []
    for answer in row["answers"] if isinstance(row["answers"], list) else []:
        given = answer if isinstance(answer, dict) else {"texts": [answer]}
        texts, english, votes = given.get("texts", []), given.get("english", []), given.get("votes", 1)
        spellings = [*texts, *english] if isinstance(texts, list) and isinstance(english, list) else []
        if not spellings or not all(isinstance(s, str) and s.strip() for s in spellings):
            raise DataError(f"{where}: an answer needs 'texts', a list of non-empty texts; this is {answer!r}")
        if type(votes) is not int or votes < 1:
            raise DataError(f"{where}: votes must be a whole number from 1, not {votes!r}")
        found.append(Answer(tuple(texts), tuple(english), votes))
    if not found:
        raise DataError(f"{where}: 'answers' must be a list with at least one answer")
    return tuple(sorted(found, key=lambda answer: -answer.votes))


def _parse_options(row: dict[str, Any], where: str) -> tuple[str, ...]:
    options = row.get("options") or []
    if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
        raise DataError(f"{where}: options must be a list of non-empty texts")
    if len(set(options)) < len(options):
        raise DataError(f"{where}: the same option occurs twice in {options}")
    return tuple(options)


def _parse_answer(row: dict[str, Any], options: tuple[str, ...], where: str) -> int:
    if len(options) < 2:
        raise DataError(f"{where}: needs at least two options (or a ready-made 'prompt' with a 'target')")
    answer = row.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise DataError(f"{where}: answer must be the index of an option (0 to {len(options) - 1}), not {answer!r}")
    if not 0 <= answer < len(options):
        raise DataError(f"{where}: answer {answer} is out of range; there are {len(options)} options, counted from 0")
    return answer


def _parse_scale(row: dict[str, Any], options: tuple[str, ...], where: str) -> tuple[int, int] | None:
    scale = row.get("scale")
    if scale is None:
        return None
    if not isinstance(scale, list) or [type(end) for end in scale] != [int, int]:
        raise DataError(f"{where}: scale must be two whole numbers, lowest and highest, not {scale!r}")
    low, high = scale
    if high - low + 1 != len(options):
        raise DataError(f"{where}: a scale from {low} to {high} has {high - low + 1} steps, not {len(options)} options")
    return low, high


def item_to_row(item: Item) -> dict[str, Any]:
    """Return the JSON row of an item, without the fields that hold their default."""
    row: dict[str, Any] = {"id": item.id, "benchmark": item.benchmark, "country": item.country}
    if item.prompt is not None:
        row |= {"prompt": item.prompt} | ({"target": item.target} if item.target is not None else {})
    else:
        row["question"] = item.question
    if item.options:
        row["options"] = list(item.options)
    if item.answers:
        row["answers"] = [{k: v for k, v in answer._asdict().items() if v} for answer in item.answers]
    elif item.prompt is None:
        row["answer"] = item.answer
    for field, default in _DEFAULTS.items():
        if (value := getattr(item, field)) != default:
            row[field] = list(value) if field == "scale" else value
    return row


def items_hash(items: Iterable[Item]) -> str:
    """Return the hash of items, which results record as `data_hash`.

    A renamed benchmark is hashed under its old name, so that hashes recorded before the change stay equal.
    """
    rows = (item_to_row(item) for item in items)
    return sha256_json_list(row | {"benchmark": HASHED_AS.get(row["benchmark"], row["benchmark"])} for row in rows)


def write_items(items: Iterable[Item], path: Path | str) -> None:
    """Write items as JSON Lines; `read_items` gives them back."""
    write_text(path, "".join(json.dumps(item_to_row(item), ensure_ascii=False) + "\n" for item in items))
