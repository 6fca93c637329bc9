"""Distances between countries (sources: distances.yaml)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from culnig.data.countries import find

KINDS = ("geographic", "linguistic", "values")
EARTH_KM = 6371.0


def distance_matrix(kind: str, countries: Sequence[str]) -> np.ndarray:
    """Return the distances of all pairs, float64 [C, C]; NaN where a country has no entry.

    geographic: great circle between the capitals, in km.  values: Euclidean distance of secular and emancipative
    values (World Values Survey wave 7).  linguistic: 0 for one language, otherwise 1 to 4.  It is 4 minus
    the number of steps (family, branch, group) that the two languages' families share from the root.
    """
    table = _table()
    size = len(countries)
    found = np.full((size, size), np.nan)
    for i, a in enumerate(countries):
        for j, b in enumerate(countries):
            found[i, j] = _distance(kind, a, b, table)
    return found


def _distance(kind: str, a: str, b: str, table: dict[str, Any]) -> float:
    one, other = (table["countries"].get(name, {}) for name in (a, b))
    if kind == "linguistic":
        return _linguistic(a, b, table["languages"])
    key = {"geographic": "place", "values": "values"}[kind]
    if key not in one or key not in other:
        return float("nan")
    if kind == "values":
        return float(np.hypot(*np.subtract(one[key], other[key])))
    (lat, lon), (lat2, lon2) = np.radians(one[key]), np.radians(other[key])
    half = np.sin((lat2 - lat) / 2) ** 2 + np.cos(lat) * np.cos(lat2) * np.sin((lon2 - lon) / 2) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(half)))


def _linguistic(a: str, b: str, families: dict[str, list[str]]) -> float:
    places = find(a), find(b)
    if places[0] is None or places[1] is None:
        return float("nan")
    one, other = places[0].language, places[1].language
    if one not in families or other not in families:
        return float("nan")
    if one == other:
        return 0.0
    shared = 0
    for x, y in zip(families[one], families[other], strict=True):
        if x != y:
            break
        shared += 1
    return 4.0 - shared


def _table() -> dict[str, Any]:
    import yaml

    return yaml.safe_load((resources.files("culnig.data") / "distances.yaml").read_text(encoding="utf-8"))
