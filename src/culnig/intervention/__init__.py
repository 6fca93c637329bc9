"""Interventions: scale or replace the values of chosen neurons, by editing weights or by hooks."""

from culnig.intervention.operation import Operation
from culnig.intervention.scaling import enhance, replace, scale, suppress

__all__ = ["Operation", "enhance", "replace", "scale", "suppress"]
