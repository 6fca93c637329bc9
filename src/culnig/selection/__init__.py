"""Selection: scores -> neuron sets.  Nothing here needs the model."""

from culnig.selection._general import select_general
from culnig.selection._random import select_random
from culnig.selection._rules import GeneralRule, SpecificRule
from culnig.selection._specific import select_specific
from culnig.selection._sweep import sweep_general

__all__ = ["GeneralRule", "SpecificRule", "select_general", "select_random", "select_specific", "sweep_general"]
