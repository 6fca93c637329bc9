"""The culture-general set, for the studies that build on it."""

from __future__ import annotations

from culnig.neurons import NeuronSet
from culnig.selection import select_general
from culnig.studies._saved import SavedRun

CULTURE_GENERAL = "culture-general"
"""Name of the set, and of the condition in which it is suppressed."""


def select_culture_general(run: SavedRun) -> NeuronSet:
    """Select the set by the run's rule."""
    ability = run.scores("ability") if run.config.identify.ability else None
    rule = run.config.culture_general.model_dump()
    return select_general(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), ability=ability, **rule)


def culture_general_set(run: SavedRun) -> NeuronSet:
    """Read the set where it is saved; select it otherwise."""
    if run.neurons_path(CULTURE_GENERAL).is_file():
        return run.neurons(CULTURE_GENERAL)
    return select_culture_general(run)
