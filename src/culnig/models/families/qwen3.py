"""Qwen 3: Llama's layout; q and k are normalised behind their projections, so a neuron is the value before."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("qwen3")(LLAMA)
