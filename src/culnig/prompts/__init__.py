"""Prompts: an item, a template and a policy give the token ids that the model sees."""

from culnig.prompts._encode import Encoded, encode, encode_prompts
from culnig.prompts._policy import PromptPolicy
from culnig.prompts._render import Prompt, render
from culnig.prompts._template import Template, load_template

__all__ = ["Encoded", "Prompt", "PromptPolicy", "Template", "encode", "encode_prompts", "load_template", "render"]
