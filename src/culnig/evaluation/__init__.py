"""Evaluation: per-item results, and statistics on them."""

from culnig.evaluation._answers import AnswerResult, answer
from culnig.evaluation._compare import Comparison, Estimate, compare, compare_by, estimate, restrict
from culnig.evaluation._guards import GUARD_RULE, Guard, guards, verdict
from culnig.evaluation._matrix import OwnCountryEffect, double_centre, own_country_effect
from culnig.evaluation._perplexity import TextComparison, TextResult, compare_text, perplexity
from culnig.evaluation._result import EvalResult
from culnig.evaluation._run import evaluate
from culnig.evaluation._selectivity import Drops, drops, winners
from culnig.evaluation._significance import (
    McNemar,
    adjust,
    discordance,
    mcnemar,
    power_of,
    questions_needed,
    smallest_drop,
)
from culnig.evaluation._table import power_table, significance_table

__all__ = [
    "GUARD_RULE",
    "AnswerResult",
    "Comparison",
    "Drops",
    "Estimate",
    "EvalResult",
    "Guard",
    "McNemar",
    "OwnCountryEffect",
    "TextComparison",
    "TextResult",
    "adjust",
    "answer",
    "compare",
    "compare_by",
    "compare_text",
    "discordance",
    "double_centre",
    "drops",
    "estimate",
    "evaluate",
    "guards",
    "mcnemar",
    "own_country_effect",
    "perplexity",
    "power_of",
    "power_table",
    "questions_needed",
    "restrict",
    "significance_table",
    "smallest_drop",
    "verdict",
    "winners",
]
