"""Attribution: how much each neuron contributes to the probability of the right answer."""

from culnig.attribution.exact import Suppressed, oracle
from culnig.attribution.means import Means, mean_values
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
from culnig.attribution.text_cost import TextCost, text_cost

__all__ = [
    "METHODS",
    "GradientMethod",
    "Means",
    "Method",
    "Scores",
    "Seen",
    "Suppressed",
    "SweepMethod",
    "TextCost",
    "ValueMethod",
    "mean_values",
    "merge_scores",
    "oracle",
    "parse_method",
    "parse_methods",
    "score",
    "text_cost",
]
