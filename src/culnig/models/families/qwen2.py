"""Qwen 2 and 2.5: Llama's layout, with biases on q, k and v (part of the neuron's value)."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("qwen2")(LLAMA)
