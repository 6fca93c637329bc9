"""Selection: scores -> neuron sets, and how stable they are.  Nothing here needs the model."""

from culnig.selection.budget import bootstrap_budget, select_at_budgets, select_of_size
from culnig.selection.general import select_general
from culnig.selection.random import select_random
from culnig.selection.rules import GeneralRule, SpecificRule
from culnig.selection.specific import select_specific
from culnig.selection.stability import (
    Stability,
    bootstrap_general,
    bootstrap_specific,
    jaccard_matrix,
    rank_correlation,
    selection_frequency,
    size_general,
    size_specific,
)
from culnig.selection.sweep import sweep_general

__all__ = [
    "GeneralRule",
    "SpecificRule",
    "Stability",
    "bootstrap_budget",
    "bootstrap_general",
    "bootstrap_specific",
    "jaccard_matrix",
    "rank_correlation",
    "select_at_budgets",
    "select_general",
    "select_of_size",
    "select_random",
    "select_specific",
    "selection_frequency",
    "size_general",
    "size_specific",
    "sweep_general",
]
