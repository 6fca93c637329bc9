"""Cohere 2 (Command R7B, Command A): Llama's layout; attention and MLP read the same normalised input."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("cohere2")(LLAMA)
