"""Llama and the models that are Llamas by name (Falcon 3, SmolLM 2): separate projections in every layer."""

from culnig.models._family import FAMILIES, Family, Part
from culnig.neurons import MODULES

LLAMA = Family(layers="model.layers", parts={module: Part(module) for module in MODULES})

FAMILIES.register("llama")(LLAMA)
