"""Interventions: scale the values of chosen neurons, by editing weights or by hooks."""

from culnig.intervention.scaling import Operation, enhance, scale, suppress

__all__ = ["Operation", "enhance", "scale", "suppress"]
