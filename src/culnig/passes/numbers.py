"""Stop where a model gives no numbers: NaN or infinity in weights, activations or gradients."""

from __future__ import annotations

import torch

from culnig.errors import ModelError
from culnig.models import LanguageModel


def no_numbers(lm: LanguageModel, what: str) -> ModelError:
    """Return the error for values that are NaN or infinite; it says whether the weights are the cause.

    Args:
        lm: the model.
        what: what is no number, as the beginning of a sentence ("the log-probabilities of an answer to item 7").
    """
    for name, parameter in lm.model.named_parameters():
        # Of a sharded model this process sees its own part alone, since the others may not look at the same time.
        weight = parameter.to_local() if lm.is_sharded and hasattr(parameter, "to_local") else parameter
        if weight.is_floating_point() and weight.device.type != "meta" and not bool(torch.isfinite(weight).all()):
            return ModelError(
                f"{what} are NaN or infinite, because the weight {name} of {lm.name} is: the checkpoint is damaged, or"
                f" {str(lm.dtype).removeprefix('torch.')} cannot hold it; load it again, or with --dtype float32"
            )
    of = "its part of the weights" if lm.is_sharded else "the weights"
    return ModelError(
        f"{what} are NaN or infinite in {str(lm.dtype).removeprefix('torch.')}, though {of} of {lm.name} are"
        " numbers; use --dtype bfloat16 or float32, or a smaller factor where neurons are scaled"
    )
