"""Prompts: an item, a template and a policy determine the token ids that the model sees."""

from culnig.prompts.encoded_stream import EncodedStream
from culnig.prompts.encoding import Encoded, encode, encode_prompts, forget_encoded, prompt_texts
from culnig.prompts.policies import (
    SCORE_CALIBRATION,
    PromptConfig,
    PromptPolicy,
    default_calibration,
    make_policy,
    recorded,
)
from culnig.prompts.rendering import Prompt, render, template_hash
from culnig.prompts.template import Template, load_template

__all__ = [
    "SCORE_CALIBRATION",
    "Encoded",
    "EncodedStream",
    "Prompt",
    "PromptConfig",
    "PromptPolicy",
    "Template",
    "default_calibration",
    "encode",
    "encode_prompts",
    "forget_encoded",
    "load_template",
    "make_policy",
    "prompt_texts",
    "recorded",
    "render",
    "template_hash",
]
