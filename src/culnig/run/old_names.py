"""Names that changed since version 0.1: configs with the old ones are still read, with a line that says so.

One word has one meaning now.  What should stay is `ability`; the sets are `culture_general` and `culture_specific`.
"""

from __future__ import annotations

import warnings
from typing import Any

from culnig.data import current_name
from culnig.errors import OldNameWarning

SECTIONS = {
    "general": "culture_general",
    "specific": "culture_specific",
    "methods": "method_comparison",
    "method": "scoring",
}
"""Old top-level setting -> the new one."""
STUDIES = {"general": "culture_general", "specific": "culture_specific", "methods": "method_comparison"}
STABILITY = {"stability_budget": "budget", "resamples": "resamples", "halves": "halves", "wordings": "wordings"}
"""Settings of the old section `methods` that belong to the study `stability`."""


def translate(data: dict[str, Any]) -> None:
    """Give the settings of a run their present names, in place.

    A line on stderr (`OldNameWarning`) names what was old.
    """
    found: list[str] = []
    for old, new in SECTIONS.items():
        if old in data:
            _move(data, old, new)
            found.append(f"{old} is {new} now")
    comparison = data.get("method_comparison")
    if isinstance(comparison, dict):
        for old, new in STABILITY.items():
            if old in comparison:
                data.setdefault("stability", {})[new] = comparison.pop(old)
                found.append(f"methods.{old} is stability.{new} now")
    for section, key in (("identify", "general"), ("culture_general", "r_general")):
        settings = data.get(section)
        if isinstance(settings, dict) and key in settings:
            new = key.replace("general", "ability")
            _move(settings, key, new)
            found.append(f"{section}.{key} is {section}.{new} now")
    _rename_values(data, found)
    if found:
        warnings.warn(f"old names in a config: {'; '.join(dict.fromkeys(found))}", OldNameWarning, stacklevel=2)


def _move(data: dict[str, Any], old: str, new: str) -> None:
    """Move a setting; where both names are given, mappings are joined and the old name's values win."""
    value = data.pop(old)
    both = isinstance(value, dict) and isinstance(data.get(new), dict)
    data[new] = data[new] | value if both else value


def _rename_values(data: dict[str, Any], found: list[str]) -> None:
    """Rename studies, roles, guarded conditions and benchmarks."""
    studies = data.get("studies")
    if isinstance(studies, list):
        for position, study in enumerate(studies):
            if isinstance(study, str) and study in STUDIES:
                studies[position] = STUDIES[study]
                found.append(f"the study {study} is {STUDIES[study]} now")
    guards = data.get("guards")
    if isinstance(guards, dict):
        for key in ("conditions", "reading"):
            if guards.get(key) == "general":
                guards[key] = "main"
                found.append(f"guards.{key}: general is main now")
    for entry in data["test"] if isinstance(data.get("test"), list) else []:
        if isinstance(entry, dict) and entry.get("role") == "general":
            entry["role"] = "ability"
            found.append("the role general is ability now")
    _rename_items(data, found)


def _rename_items(value: Any, found: list[str]) -> None:
    """Rename benchmarks in every `items:` of a config."""
    if isinstance(value, list):
        for part in value:
            _rename_items(part, found)
    elif isinstance(value, dict):
        items = value.get("items")
        if isinstance(items, str) and (new := current_name(items)) != items:
            value["items"] = new
            found.append(f"the benchmark {items} is {new} now")
        for part in value.values():
            if isinstance(part, dict | list):
                _rename_items(part, found)
