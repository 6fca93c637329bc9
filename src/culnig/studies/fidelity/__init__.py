"""Fidelity: is a score right?  Estimates against exact suppression, neuron by neuron and for groups of neurons."""

from culnig.statistics.agreement import Level, agreement, levels, statement
from culnig.studies.fidelity.measure import measure_fidelity
from culnig.studies.fidelity.rows import Fidelity
from culnig.studies.fidelity.sample import Sampling
from culnig.studies.fidelity.study import FidelityStudy
from culnig.studies.fidelity.tables import both_strata, by_level

__all__ = [
    "Fidelity",
    "FidelityStudy",
    "Level",
    "Sampling",
    "agreement",
    "both_strata",
    "by_level",
    "levels",
    "measure_fidelity",
    "statement",
]
