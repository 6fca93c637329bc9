"""Attribution: how much each neuron contributes to the probability of the right answer."""

from culnig.attribution.exact import Suppressed, oracle
from culnig.attribution.method import (
    METHODS,
    GradientMethod,
    Method,
    Seen,
    SweepMethod,
    ValueMethod,
    parse_method,
    parse_methods,
)
from culnig.attribution.scoring import score
from culnig.attribution.store import Scores, merge_scores

__all__ = [
    "METHODS",
    "GradientMethod",
    "Method",
    "Scores",
    "Seen",
    "Suppressed",
    "SweepMethod",
    "ValueMethod",
    "merge_scores",
    "oracle",
    "parse_method",
    "parse_methods",
    "score",
]
