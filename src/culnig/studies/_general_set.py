"""The culture-general set, for the studies that build on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.errors import UsageError
from culnig.neurons import NeuronSet
from culnig.selection import select_general

if TYPE_CHECKING:
    from culnig.studies.saved import SavedRun

GENERAL = "general"


def general_of(run: SavedRun) -> NeuronSet:
    """The set by the run's rule: read where it is saved, else selected."""
    if run.neurons_path(GENERAL).is_file():
        return run.neurons(GENERAL)
    return select_culture_general(run)


def select_culture_general(run: SavedRun) -> NeuronSet:
    """Select the set by the run's rule, from its scores.

    Raises:
        UsageError: no neuron reaches the thresholds; whatever follows is about this set.
    """
    plain = run.scores("general") if run.config.identify.general else None
    rule = run.config.general.model_dump()
    chosen = select_general(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), general=plain, **rule)
    if not len(chosen):
        thresholds = ", ".join(f"{name} = {value:g}" for name, value in rule.items() if isinstance(value, float))
        raise UsageError(
            f"no neuron reached the thresholds of the culture-general set ({thresholds}): there is nothing to evaluate;"
            f" raise t_mlp or t_attn, or lower r, and choose another --out"
        )
    return chosen
