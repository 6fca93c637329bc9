"""Evaluation: per-item results, and statistics on them."""

from culnig.evaluation.comparing import (
    Comparison,
    Estimate,
    compare,
    compare_by,
    discordance,
    estimate,
    mcnemar,
    power_table,
    restrict,
    significance_table,
)
from culnig.evaluation.costly import costliest
from culnig.evaluation.guards import GUARD_RULE, Guard, guards, measured, verdict, verdict_on
from culnig.evaluation.multiple_choice import evaluate
from culnig.evaluation.plain_text import TextComparison, TextResult, compare_text, perplexity
from culnig.evaluation.results import EvalResult
from culnig.evaluation.selectivity import Drops, drops, winners
from culnig.evaluation.short_answers import AnswerResult, answer
from culnig.evaluation.streaming import count_prompts, save_results

__all__ = [
    "GUARD_RULE",
    "AnswerResult",
    "Comparison",
    "Drops",
    "Estimate",
    "EvalResult",
    "Guard",
    "TextComparison",
    "TextResult",
    "answer",
    "compare",
    "compare_by",
    "compare_text",
    "costliest",
    "count_prompts",
    "discordance",
    "drops",
    "estimate",
    "evaluate",
    "guards",
    "mcnemar",
    "measured",
    "perplexity",
    "power_table",
    "restrict",
    "save_results",
    "significance_table",
    "verdict",
    "verdict_on",
    "winners",
]
