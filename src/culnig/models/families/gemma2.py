"""Gemma 2: Llama's layout; attention logits are soft-capped, which needs eager attention."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("gemma2")(LLAMA)
