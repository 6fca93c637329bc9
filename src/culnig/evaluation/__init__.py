"""Evaluation: per-item results, and statistics on them."""

from culnig.evaluation._compare import Comparison, Estimate, compare, compare_by, estimate
from culnig.evaluation._matrix import OwnCountryEffect, double_centre, own_country_effect
from culnig.evaluation._result import EvalResult
from culnig.evaluation._run import evaluate

__all__ = [
    "Comparison",
    "Estimate",
    "EvalResult",
    "OwnCountryEffect",
    "compare",
    "compare_by",
    "double_centre",
    "estimate",
    "evaluate",
    "own_country_effect",
]
