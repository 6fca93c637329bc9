"""What the studies that compare methods share: which methods, on which modules, and their sets at equal budgets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from culnig.attribution import Scores
from culnig.attribution._method import parse_methods
from culnig.neurons import NeuronSet
from culnig.selection import select_at_budgets

if TYPE_CHECKING:
    from culnig.config import RunConfig
    from culnig.run_directory import RunDirectory

RANDOM = "random"


def method_names(config: RunConfig) -> list[str]:
    """The methods of a run."""
    return [method.name for method in parse_methods(config.method)]


def is_random(method: str) -> bool:
    """Whether a method is a random draw, whatever its seed."""
    return method.partition(":")[0] == RANDOM


def methods_on(run: RunDirectory, place: str) -> list[str]:
    """The methods that score all modules of one of the config's `methods.modules`."""
    modules = set(run.config.methods.modules[place])
    return [name for name in method_names(run.config) if modules <= set(run.scores("neur", name).modules)]


def parts_of(run: RunDirectory, method: str) -> dict[str, Scores]:
    """Part -> one method's scores."""
    return {part: run.scores(part, method) for part in run.parts}


def sets_of(parts: dict[str, Scores], config: RunConfig, place: str, shares: list[float]) -> list[NeuronSet]:
    """A method's sets at some budgets."""
    return select_at_budgets(
        parts["neur"],
        parts["ctrl"],
        parts["crc"],
        config.methods.modules[place],
        shares,
        general=parts.get("general"),
        rule=config.general,
    )


def set_name(place: str, method: str, share: float) -> str:
    """Name of a set and of its condition: "gate.culnig-sum.0.005"."""
    return f"{place}.{re.sub(r'[^A-Za-z0-9._-]+', '-', method)}.{share:g}"


def percent(share: float) -> str:
    """0.0005 -> "0.05 %"."""
    return f"{100 * share:g} %"
