"""The culture-general set, for the studies that build on it."""

from __future__ import annotations

from culnig.errors import UsageError
from culnig.neurons import NeuronSet
from culnig.selection import select_general
from culnig.studies._saved import SavedRun

CULTURE_GENERAL = "culture-general"
"""Name of the set, and of the condition in which it is suppressed."""


def select_culture_general(run: SavedRun) -> NeuronSet:
    """Select the set by the run's rule, from its scores.

    Raises:
        UsageError: no neuron reaches the thresholds, so that there is nothing to evaluate.
    """
    ability = run.scores("ability") if run.config.identify.ability else None
    rule = run.config.culture_general.model_dump()
    chosen = select_general(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), ability=ability, **rule)
    if not len(chosen):
        thresholds = ", ".join(f"{name} = {value:g}" for name, value in rule.items() if isinstance(value, float))
        raise UsageError(
            f"no neuron reached the thresholds of the culture-general set ({thresholds}): there is nothing to evaluate;"
            " raise t_mlp or t_attn, or lower r, and choose another --out"
        )
    return chosen


def culture_general_set(run: SavedRun) -> NeuronSet:
    """Read the set where it is saved; select it otherwise."""
    if run.neurons_path(CULTURE_GENERAL).is_file():
        return run.neurons(CULTURE_GENERAL)
    return select_culture_general(run)
