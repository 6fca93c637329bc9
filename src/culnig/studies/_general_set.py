"""The culture-general set, for the studies that build on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culnig.neurons import NeuronSet
from culnig.selection import select_general

if TYPE_CHECKING:
    from culnig.studies.saved import SavedRun

GENERAL = "general"


def general_of(run: SavedRun) -> NeuronSet:
    """The set by the run's rule: read where it is saved, else selected."""
    if run.neurons_path(GENERAL).is_file():
        return run.neurons(GENERAL)
    plain = run.scores("general") if run.config.identify.general else None
    rule = run.config.general.model_dump()
    return select_general(run.scores("neur"), run.scores("ctrl"), run.scores("crc"), general=plain, **rule)
