"""What the studies that compare methods share: which methods, on which modules, and their sets at equal budgets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from culnig.attribution import Scores
from culnig.attribution.method import parse_methods
from culnig.neurons import ATTENTION_POOL, GATE, NeuronSet
from culnig.selection import select_at_budgets
from culnig.settings import Settings

if TYPE_CHECKING:
    from culnig.studies._saved import SavedRun
    from culnig.studies._settings import RunSettings

RANDOM = "random"


class MethodComparisonSettings(Settings):
    """Settings of the study `method_comparison`: every scoring method of the run at equal budgets."""

    modules: dict[str, list[str]] = Field(
        {"gate": [GATE], "all": [GATE, *ATTENTION_POOL]},
        min_length=1,
        description="name -> modules whose neurons are suppressed; a method that does not score them all is left out",
    )
    budgets: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05], min_length=1, description="shares of each module's neurons"
    )


def method_names(config: RunSettings) -> list[str]:
    """The methods of a run."""
    return [method.name for method in parse_methods(config.scoring)]


def is_random(method: str) -> bool:
    """Whether a method is a random draw, whatever its seed."""
    return method.partition(":")[0] == RANDOM


def methods_on(run: SavedRun, place: str) -> list[str]:
    """The methods that score all modules of one of the config's `method_comparison.modules`."""
    modules = set(run.config.section(MethodComparisonSettings).modules[place])
    return [name for name in method_names(run.config) if modules <= set(run.scores("neur", name).modules)]


def parts_of(run: SavedRun, method: str) -> dict[str, Scores]:
    """SiteLocation -> one method's scores."""
    return {part: run.scores(part, method) for part in run.parts}


def sets_of(parts: dict[str, Scores], config: RunSettings, place: str, shares: list[float]) -> list[NeuronSet]:
    """A method's sets at some budgets."""
    return select_at_budgets(
        parts["neur"],
        parts["ctrl"],
        parts["crc"],
        config.section(MethodComparisonSettings).modules[place],
        shares,
        ability=parts.get("ability"),
        rule=config.culture_general,
    )


def set_name(place: str, method: str, share: float) -> str:
    """Name of a set and of its condition: "gate.culnig-sum.0.005"."""
    return f"{place}.{re.sub(r'[^A-Za-z0-9._-]+', '-', method)}.{share:g}"
