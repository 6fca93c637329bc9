"""The part of the study `stability` about countries: would other items have chosen the same culture-specific sets?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from culnig.selection import Stability, bootstrap_specific
from culnig.studies._base import Section

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun

PARTS = ("neur", "ctrl", "crc")
MEANS = ("jaccard", "chance", "rank_all")


def add_country_stability(section: Section, run: SavedRun, method: str, draws: dict[str, Any]) -> None:
    """Add the table `stability-specific`: each country's set against those of resampled items and of halves.

    Args:
        section: the study's section.
        run: the run; where its scores hold no sums by block and group, a sentence says so.
        method: the scoring method.
        draws: resamples, halves and seed, as for `bootstrap_specific`.
    """
    parts = [run.scores(part, method) for part in PARTS]
    if len(parts[0].groups) < 2:
        return
    if not all(part.group_blocks for part in parts):
        section.text.append(
            "Culture-specific sets are not resampled: the score files hold no sums by block and country"
            " (`block_groups: true`)."
        )
        return
    neur, ctrl, crc = parts
    made = bootstrap_specific(neur, ctrl, crc, **draws, **run.config.culture_specific.model_dump())
    rows = [row for country, each in made.items() for row in _rows(country, each)]
    table = pd.DataFrame(rows)
    section.tables["stability-specific"] = table
    section.numbers["specific"] = table.to_dict("records")
    section.text.append(_said(table))


def _rows(country: str, made: Stability) -> list[dict[str, Any]]:
    """A row a kind of resampling: means, and the range that holds 95 % of the Jaccard indices."""
    rows = []
    for kind, part in made.table.groupby("kind"):
        low, high = np.quantile(part["jaccard"], [0.025, 0.975])
        row = {"country": country, "kind": kind, "neurons": len(made.chosen)}
        row |= {"jaccard_low": float(low), "jaccard_high": float(high)}
        rows.append(row | {column: float(part[column].mean()) for column in MEANS})
    return rows


def _said(table: pd.DataFrame) -> str:
    filled = table[table["neurons"] > 0]
    said = []
    for kind, what in (("bootstrap", "resampled items against all items"), ("half", "one half against the other")):
        part = filled[filled["kind"] == kind]
        if len(part):
            said.append(
                f"{what}: mean Jaccard {part['jaccard'].mean():.2f}, from {part['jaccard'].min():.2f} to"
                f" {part['jaccard'].max():.2f} ({part['chance'].mean():.3f} by chance)"
            )
    countries = filled["country"].nunique()
    return f"Culture-specific sets of {countries} countries, from blocks with countries apart. {'; '.join(said)}."
