"""Fine-tuning: choose projections, train without changing chosen neurons, and measure the effect."""

from culnig.finetune.ranking import (
    Choice,
    Projection,
    choose,
    decoder_parameters,
    find_projections,
    parse_share,
    rank,
    within,
)
from culnig.finetune.targets import peft_expression, peft_list
from culnig.finetune.tuning import manifest, tune

__all__ = [
    "Choice",
    "Projection",
    "choose",
    "decoder_parameters",
    "find_projections",
    "manifest",
    "parse_share",
    "peft_expression",
    "peft_list",
    "rank",
    "tune",
    "within",
]
