"""Fine-tuning: which projections to touch, training that leaves chosen neurons alone, and what it did."""

from culnig.finetune._choose import Choice, choose, parse_share
from culnig.finetune._projections import Projection, decoder_parameters, find_projections, rank
from culnig.finetune._targets import peft_expression, peft_list
from culnig.finetune._tune import manifest, tune

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
]
