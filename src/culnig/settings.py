"""Read YAML settings into a pydantic model, with `base:`, `--set`, and errors that name file and field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from culnig.errors import DataError, UsageError
from culnig.files import require_file
from culnig.parsing import NotParsed, parse_yaml


class Settings(BaseModel):
    """Base of every group of settings: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


S = TypeVar("S", bound=Settings)
Translate = Callable[[dict[str, Any]], None]
"""A function that changes a mapping of settings in place: old names become new ones."""


def read_settings(
    kind: type[S],
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    embedded: Path | None = None,
    translate: Translate = lambda data: None,
) -> S:
    """Read settings from a YAML file.

    Args:
        kind: the model of the settings.
        path: a YAML file, or the name of an embedded file without its suffix.
        overrides: settings `a.b=value`, with values in YAML; they replace those of the file.
        embedded: the folder of embedded files; None if there are none.
        translate: replaces old names by present ones, in the file and in the overrides.

    Raises:
        UsageError: the file does not exist, an override is no setting, or a field is wrong; the message names it.
        DataError: the file is not YAML.
    """
    source, data = _mapping(path, embedded, translate)
    for override in overrides:
        _override(data, override)
    if overrides:
        translate(data)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{source}: {where}: {message}{_got(first)}") from error


def embedded_names(folder: Path) -> list[str]:
    """Return the names of the embedded files of a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _mapping(path: str | Path, embedded: Path | None, translate: Translate) -> tuple[str, dict[str, Any]]:
    """Return a file's name and its settings, merged over those of the embedded file that `base:` names."""
    source, text = _read(path, embedded)
    try:
        data = parse_yaml(text)
    except NotParsed as error:
        raise DataError(f"{source}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{source}: a mapping of settings is expected; see `culnig run --help`")
    base = data.pop("base", None)
    translate(data)
    if base is None:
        return source, data
    if embedded is None or not isinstance(base, str) or base not in embedded_names(embedded):
        have = ", ".join(embedded_names(embedded)) if embedded else "none"
        raise UsageError(f"{source}: base: {base!r} is not an embedded config; embedded are {have}")
    return source, _over(_mapping(base, embedded, translate)[1], data)


def _read(path: str | Path, embedded: Path | None) -> tuple[str, str]:
    """Return a file's name and text."""
    name = str(path)
    if embedded is not None and "/" not in name and (embedded / f"{name}.yaml").is_file():
        return name, (embedded / f"{name}.yaml").read_text(encoding="utf-8")
    if embedded is not None and not name.endswith((".yaml", ".yml")) and not Path(name).exists():
        have = ", ".join(embedded_names(embedded))
        raise UsageError(f"no config '{name}': embedded are {have}; else name a YAML file")
    try:
        return name, require_file(name, "a config (YAML)").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text (byte {error.start})") from error


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge `own` over `base`: join mappings, and replace everything else."""
    joined = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        joined[key] = _over(base[key], value) if both else value
    return joined


def _override(data: dict[str, Any], setting: str) -> None:
    """Set one `a.b=value` in the settings."""
    path, equals, text = setting.partition("=")
    steps = path.split(".")
    if not equals or not all(steps):
        raise UsageError(f"--set {setting}: give it as name.of.setting=value")
    try:
        value = parse_yaml(text)
    except NotParsed as error:
        raise UsageError(f"--set {setting}: the value is not YAML") from error
    *parents, last = steps
    place: Any = data
    for step in parents:
        if isinstance(place, dict) and place.get(step) is None:
            place[step] = {}  # absent, or given as null
        place = place[_key(place, step, setting)]
        if not isinstance(place, dict | list):
            raise UsageError(f"--set {setting}: '{step}' holds a value, not settings")
    place[_key(place, last, setting)] = value


def _key(place: dict[str, Any] | list[Any], step: str, setting: str) -> Any:
    """Return a step of a setting's path as the key of a mapping or the index of a list."""
    if isinstance(place, dict):
        return step
    if not place:
        raise UsageError(f"--set {setting}: '{step}' is not in that list, which is empty; set the whole list")
    if not (step.isascii() and step.isdigit() and int(step) < len(place)):
        raise UsageError(f"--set {setting}: '{step}' is not an index of that list (0 to {len(place) - 1})")
    return int(step)


def _got(error: Any) -> str:
    """Return the end of an error message: the value of the wrong field."""
    if error["type"] == "missing":
        return ""
    return "; no such setting" if error["type"] == "extra_forbidden" else f" (got {error['input']!r})"[:120]
