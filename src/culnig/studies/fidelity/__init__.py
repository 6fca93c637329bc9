"""Fidelity: is a score right?  Estimates against exact suppression, neuron by neuron and for groups of neurons."""

from culnig.statistics.agreement import Level, agreement, levels, statement
from culnig.studies.fidelity.measure import Fidelity, Sampling, measure_fidelity
from culnig.studies.fidelity.study import FidelityStudy

__all__ = ["Fidelity", "FidelityStudy", "Level", "Sampling", "agreement", "levels", "measure_fidelity", "statement"]
