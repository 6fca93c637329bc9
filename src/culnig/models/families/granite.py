"""Granite: Llama's layout; embeddings, residuals, attention and logits are scaled by constants."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("granite")(LLAMA)
